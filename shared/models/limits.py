"""What a network takes and what it was trained on, declared in one record, as spandrel's descriptors declare it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one network."""

    multiple: int = 1  # width and height of its input are multiples of this, pixels
    half_precision: frozenset[str] = frozenset()  # of float16 and bfloat16: those in which its results hold
    trained_side: int = 0  # pixels: side of the squares it was trained on; 0 = any size
    trained_on_alpha: bool = False  # on opacity, not on binary masks

    def check_size(self, width: int, height: int) -> None:
        """Raises ValueError for an input of a size that the network does not take, pixels."""
        if min(width, height) < self.multiple or width % self.multiple or height % self.multiple:
            raise ValueError(f"the network's size is {width}x{height}; expected multiples of {self.multiple}")

    def rounded_down(self, side: int) -> int:
        """The largest side of an input up to `side`, pixels; at least one multiple."""
        return max(self.multiple, side - side % self.multiple)

    def dtype(self, asked: str, device: str, *, native: frozenset[str] = frozenset()) -> str:
        """The precision to compute in: half on a GPU, or on a CPU that has it, if the network's results hold in it.

        native: of float16 and bfloat16, those in which the CPU multiplies faster than in float32.
        """
        fast = device.startswith("cuda") or asked in native
        return asked if fast and asked in self.half_precision else "float32"
