"""Write a model as ONNX graphs, which need no torch, and compare them with it.

    pisam export [MODEL] out=DIR [image_size=N] [int8=true] [fp16=true] [images=DIR]

MODEL: a checkpoint (.ckpt, .safetensors) or a run's folder (default: the trained model of the repository,
else the quick start's run).

group: Use
out=DIR: encoder.onnx, decoder.onnx, interactor.onnx and meta.json; pisam.onnx.OnnxPredictor(DIR) runs them
image_size=N: side of the frame (default: that of its training); 1024 shows more than 512, and takes longer
int8=true|false: the encoder again with 8-bit matrices, encoder_int8.onnx
fp16=true|false: the encoder again in half precision, encoder_fp16.onnx
images=DIR: pictures to compare on, in place of four generated ones
"""

from __future__ import annotations

from pisam.commands.shared.command import Arguments
from pisam.commands.shared.folders import list_pictures
from pisam.commands.shared.models import find_model, is_exported, load_torch
from pisam.core.errors import PisamError
from pisam.core.lock import holding
from pisam.data.reading.reader import read_image

PICTURES = 4  # compared on, unless images= names a folder


def run(arguments: Arguments) -> None:
    """Export the model and print the comparison."""
    encoders = [kind for kind in ("int8", "fp16") if arguments.own.get(kind) == "true"]
    if "images" in arguments.own:
        files = list_pictures(arguments.path("images"), "images", but=arguments.path("out"))
        pictures = [(name, read_image(path)) for name, path in files.items()]
    else:
        from pisam.data.generated.sets import sample

        pictures = [(f"generated {number}", sample(number)[0]) for number in range(PICTURES)]
    path = find_model(arguments)
    if is_exported(path):
        raise PisamError(f"export: {path} is exported already; give a checkpoint or a run")
    try:
        import onnxruntime  # noqa: F401

        import onnx  # noqa: F401, the tracer needs it
    except ImportError as error:
        raise PisamError(f"export: {error.name} is not installed: pip install 'pisam[onnx]'") from error
    from pisam.onnx.export import export
    from pisam.predictor import PiSamPredictor

    out = arguments.path("out")
    model = load_torch(arguments, path, "cpu")
    with holding(out):
        meta = export(model, PiSamPredictor(model).engine, out, pictures, encoders=encoders)
    print("encoder  answer   pictures  max |difference| of logits  lowest IoU")
    for encoder in ["fp32", *encoders]:
        for answer in ("box", "clicks"):
            rows = [row for row in meta["compared"] if (row["encoder"], row["answer"]) == (encoder, answer)]
            worst = max(row["max_difference"] for row in rows)
            lowest = min(row["iou"] for row in rows)
            print(f"{encoder:8} {answer:8} {len(rows):8}  {worst:26.2g}  {lowest:10.5f}")
    print(out)
