"""What a deployment lets its stage containers be."""

from dataclasses import dataclass

DEPLOYMENT_LABEL = "sim2edge.deployment"
LABEL_PREFIX = "sim2edge."
SECRETS_FOLDER = "/run/sim2edge"
VOLUME_TARGETS = frozenset({"/scratch", SECRETS_FOLDER})
"""Where an anonymous volume may be mounted."""


class Refusal(Exception):
    """The request is not let through; says why in one line."""


@dataclass(frozen=True)
class Policy:
    """The settings of one proxy."""

    deployment: str
    """Value of the label that every container of this deployment carries; others do not exist for it."""
    network: str
    """The one network that a stage container may join."""
    image_prefixes: tuple[str, ...] = ("sim2edge/",)
    """What the name of an image has to begin with."""
    pull: bool = False
    """Whether images with such names may be pulled."""
    gpus: bool = False
    """Whether a container may ask for GPUs."""

    def names_image(self, name: str) -> bool:
        """Return whether an image of this name may be used."""
        return name.startswith(self.image_prefixes)
