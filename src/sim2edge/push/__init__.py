"""The push stage: sign a release into the TUF repository and assign it to a ring of the fleet."""

from sim2edge.push.config import PushConfig
from sim2edge.stage import Grants, Input, Shown, Stage, named

STAGE = Stage(
    name="push",
    version=2,
    produces="rollout",
    config=PushConfig,
    entry="sim2edge.push.run:run",
    inputs={"release": Input("release", files=("bundle.tar",))},
    post_commit="sim2edge.push.run:publish",
    signs=True,
    grants=Grants(
        read=("ota/*", "devices/register.json"),  # the ring of each device is signed, too
        # Not <n>.root.json: root metadata is signed with the offline keys, which this stage never has.
        write=(
            "ota/metadata/*.targets.json",
            "ota/metadata/*.snapshot.json",
            "ota/metadata/timestamp.json",
            "ota/targets/*",
            "refs/rings/*",
            "refs/models/champion",
        ),
    ),
    shown=Shown(figures=named("ring", "release"), headline=lambda figures: figures["ring"], documented="operating"),
)
