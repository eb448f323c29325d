"""Define the policy of a deployment for its stage containers."""

from dataclasses import dataclass

DEPLOYMENT_LABEL = "sim2edge.deployment"
LABEL_PREFIX = "sim2edge."
SECRETS_FOLDER = "/run/sim2edge"
VOLUME_TARGETS = frozenset({"/scratch", SECRETS_FOLDER})
"""Where an anonymous volume may be mounted."""


class Refusal(Exception):
    """The request is not allowed; the message is the reason, in one line."""


@dataclass(frozen=True)
class Policy:
    """The settings of one proxy."""

    deployment: str
    """Value of the label on every container of this deployment; others do not exist for the proxy."""
    network: str
    """The one network that a stage container may join."""
    image_prefixes: tuple[str, ...] = ("sim2edge/",)
    """Allowed prefixes of image names."""
    pull: bool = False
    """Whether images with such names may be pulled."""
    gpus: bool = False
    """Whether a container may request GPUs."""

    def names_image(self, name: str) -> bool:
        """Return whether an image of this name may be used."""
        return name.startswith(self.image_prefixes)
