"""The push stage: a release, signed into the TUF repository and given to a ring of the fleet."""

from sim2edge.push.config import PushConfig
from sim2edge.stage import Input, Stage

STAGE = Stage(
    name="push",
    version=1,
    produces="rollout",
    config=PushConfig,
    entry="sim2edge.push.run:run",
    inputs={"release": Input("release", files=("bundle.tar",))},
    post_commit="sim2edge.push.run:publish",
)
