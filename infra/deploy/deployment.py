"""What the steps know: the variables, and what the earlier steps have found out."""

from dataclasses import dataclass, field
from pathlib import Path

from .shell import Shell
from .values import Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Each step gives the next one its successor."""

    root: Path  # of the repository
    values: Values
    shell: Shell
    patience_s: float = 900.0  # longest wait for the sample's message
    yes: bool = False  # do not ask before things are destroyed
    image_tag: str = ""
    project_number: str = ""
    outputs: dict[str, str] = field(default_factory=dict)  # Terraform's

    @property
    def torch_index_url(self) -> str:
        return f"{self.values.torch_index.rstrip('/')}/{self.values.cuda}"

    @property
    def build_arguments(self) -> dict[str, str]:
        """Arguments of the Dockerfile that decide what is in the image."""
        values = self.values
        return {
            "CUDA": values.cuda,
            "MODEL": values.model,
            "MODEL_REVISION": values.model_revision,
            "ESRGAN_MODEL": values.esrgan_model,
            "VITMATTE_MODEL": values.vitmatte_model,
            "VITMATTE_REVISION": values.vitmatte_revision,
            "WEIGHTS_DTYPE": values.weights_dtype,
        }

    @property
    def variables(self) -> tuple[str, ...]:
        """What Terraform is told beside terraform.tfvars."""
        told = {"project": self.values.project, "project_number": self.project_number, "image_tag": self.image_tag}
        return tuple(f"-var={name}={value}" for name, value in told.items())
