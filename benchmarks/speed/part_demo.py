"""Part `demo`: a click on the demo's page, from its arrival at the server to the layers that are sent back."""

import tempfile
import time
from functools import partial
from pathlib import Path

from PIL import Image

from hq_sam_hf import HQSamModel, HQSamPredictor, HQSamProcessor
from hq_sam_hf.demo.canvas import canvas_value
from hq_sam_hf.demo.session import SAMPLE_IMAGE, DemoSession
from hq_sam_hf.utils.embedded import EMBEDDED

from .contenders import Options, build
from .measuring import alternate
from .part_pictures import photo
from .report import Row


def measure(options: Options) -> list[Row]:
    contenders = build(options)
    predictors = {
        "embedded checkpoint": HQSamPredictor(
            HQSamModel.from_pretrained(EMBEDDED).to(options.device), HQSamProcessor.from_pretrained(EMBEDDED)
        ),
        options.backbone: HQSamPredictor(contenders.ours, contenders.processor),
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.jpg"
        photo().save(large, quality=90)
        for path in (SAMPLE_IMAGE, large):
            with Image.open(path) as image:
                size = f"{image.width} x {image.height}"
            for model in predictors:
                session = DemoSession(path, predictors, model)
                row = Row(f"a click in the demo, {model}, photo of {size}")
                row.times = alternate({"ours": partial(click, session)}, 4 * options.rounds, options.clock)
                rows.append(row)
    return rows


def click(session: DemoSession) -> object:
    """The first click on an open image."""
    start = time.perf_counter()
    session.clear()
    height, width = session.size
    session.add_point(0.45 * width, 0.4 * height, 1)
    return canvas_value(session, start)
