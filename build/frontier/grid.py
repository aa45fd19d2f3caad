"""The candidates that are trained and measured, by preset."""

from dataclasses import dataclass

from build.settings import Shape, Student, Training


@dataclass(frozen=True)
class Grid:
    """Students beside the fine-tuned networks themselves."""

    encoders: tuple[Student, ...]
    cross_encoders: tuple[Student, ...]


_ENCODER = Training(epochs=3, batch=64, learning_rate=3e-4)
_CROSS_ENCODER = Training(epochs=3, batch=32, learning_rate=3e-4)
GRIDS = {
    "full": Grid(
        tuple(
            Student(Shape(*shape), _ENCODER, texts=12_000)
            for shape in ((3, 12, 1536), (3, 8, 768), (2, 12, 1536), (1, 12, 1536))
        ),
        (
            Student(Shape(3, 12, 1536), _CROSS_ENCODER, texts=200),
            Student(Shape(2, 8, 768), _CROSS_ENCODER, texts=200),
            # The less is left, the longer it takes to recover
            Student(Shape(2, 4, 384), Training(epochs=10, batch=32, learning_rate=5e-4), texts=200),
        ),
    ),
    "quick": Grid(
        (Student(Shape(3, 12, 1536), Training(1, 64, 3e-4), texts=6000),),
        (Student(Shape(2, 4, 384), Training(2, 32, 3e-4), texts=0),),
    ),
    "smoke": Grid((), ()),
}
"""The students that the full preset of a build serves were chosen from `full`."""
