"""What a visitor of the demo has, without the page: the predictor's masks, the way back, and clear refusals."""

import gc
import importlib.util
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf import HQSamPredictor, HQSamProcessor
from hq_sam_hf.cli import main
from hq_sam_hf.demo import session as session_module
from hq_sam_hf.demo.session import MAX_PIXELS, DemoSession, Prompts
from hq_sam_hf.masks.drawing import transparent_overlay
from support.images import random_image
from support.oracle import SMALL, lively_pair, pair

EVERYTHING = {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}


def make_predictor(model=None, **options) -> HQSamPredictor:
    model = model or lively_pair(SMALL)[1]
    return HQSamPredictor(model, HQSamProcessor.from_config(model.config), **options)


@pytest.fixture(scope="module")
def predictors():
    return {"first": make_predictor(), "second": make_predictor(pair(SMALL)[1])}


@pytest.fixture
def upload(tmp_path):
    """Write a picture of (height, width) size; gives its path."""

    def write(size=(60, 90), seed=0, name="picture.png"):
        path = tmp_path / name
        Image.fromarray(random_image(size, seed)).save(path)
        return path

    return write


@pytest.fixture
def session(predictors, upload):
    return DemoSession(upload(), predictors, automatic_options=EVERYTHING)


def predicted(predictor, image, **prompts):
    """The predictor's own masks, of SAM and of HQ-SAM."""
    predictor.set_image(image, name="expected")
    sam = predictor.predict(**prompts, image="expected", sam_only=True)[0][0]
    return sam, predictor.predict(**prompts, image="expected")[0][0]


def test_a_click_gives_the_best_of_three_candidates_of_sam_and_of_hq_sam(session, predictors):
    assert session.answer is None
    session.add_point(40, 30, 1)
    sam, hq = predicted(predictors["first"], random_image((60, 90)), points=[[40, 30]], multimask_output=True)
    assert np.array_equal(session.answer.sam, sam)
    assert np.array_equal(session.answer.hq, hq)
    assert 0 < hq.mean() < 1
    assert not np.array_equal(sam, hq)


def test_points_and_a_box_make_one_object_and_a_later_box_replaces_it(session, predictors):
    session.set_box(1, 2, 3, 4)
    session.set_box(80, 50, 10, 5)  # by any two corners
    session.add_point(40, 30, 1)
    session.add_point(5, 5, 0)
    assert session.prompts == Prompts(((40, 30, 1), (5, 5, 0)), (10, 5, 80, 50))
    expected = predicted(
        predictors["first"], random_image((60, 90)), points=[[40, 30], [5, 5]], labels=[1, 0], boxes=[10, 5, 80, 50]
    )
    assert np.array_equal(session.answer.sam, expected[0])
    assert np.array_equal(session.answer.hq, expected[1])


def test_undo_goes_back_step_by_step_also_past_clear(session):
    seen = []
    for step in (lambda: session.add_point(40, 30, 1), lambda: session.set_box(5, 5, 60, 50), session.clear):
        seen.append((session.prompts, session.answer))
        step()
    assert (session.prompts, session.answer) == (Prompts(), None)
    session.clear()  # nothing to clear, hence no step
    while seen:
        session.undo()
        prompts, answer = seen.pop()
        assert session.prompts == prompts
        assert (session.answer is None) == (answer is None)
        assert answer is None or np.array_equal(session.answer.hq, answer.hq)
    session.undo()
    assert session.prompts == Prompts()


@pytest.fixture
def large(predictors, upload, monkeypatch):
    """A session whose picture is twice as large as its view."""
    monkeypatch.setattr(session_module, "VIEW_SIDE", 120)
    return DemoSession(upload((90, 240)), predictors, automatic_options=EVERYTHING)


def test_a_large_picture_is_answered_at_the_size_of_its_view_and_saved_at_its_own(large, predictors):
    large.add_point(150, 40, 1)
    assert large.answer.hq.shape == large.view_size == (45, 120)
    full = predicted(predictors["first"], random_image((90, 240)), points=[[150, 40]], multimask_output=True)[1]
    assert np.array_equal(large.mask(), full)
    view = np.asarray(Image.fromarray(large.answer.hq).resize((240, 90)))
    assert (view == full).mean() > 0.95


def test_the_mask_and_the_cutout_are_saved_as_png_of_the_size_of_the_picture(session):
    for save in (lambda: session.save("mask"), lambda: session.save("cutout")):
        with pytest.raises(ValueError, match=r"no mask yet\. Click on an object first"):
            save()
    session.add_point(40, 30, 1)
    mask, cutout = session.save("mask"), session.save("cutout")
    assert (mask.name, cutout.name) == ("picture_mask.png", "picture_cutout.png")
    assert np.array_equal(np.asarray(Image.open(mask)), session.answer.hq)
    rgba = np.asarray(Image.open(cutout))
    assert np.array_equal(rgba[..., 3], session.answer.hq * np.uint8(255))
    assert np.array_equal(
        rgba[..., :3], random_image((60, 90)) * session.answer.hq[..., None]
    )  # the rest is not in the file


def test_another_model_answers_the_same_prompts(session, predictors):
    session.add_point(40, 30, 1)
    session.add_point(5, 5, 0)
    session.choose_model("second")
    expected = predicted(predictors["second"], random_image((60, 90)), points=[[40, 30], [5, 5]], labels=[1, 0])
    assert np.array_equal(session.answer.hq, expected[1])
    with pytest.raises(ValueError, match="must be one of first, second, got 'third'"):
        session.choose_model("third")
    assert session.model == "second"
    session.undo()
    assert np.array_equal(
        session.answer.hq,
        predicted(predictors["second"], random_image((60, 90)), points=[[40, 30]], multimask_output=True)[1],
    )


def test_sessions_that_share_a_predictor_keep_their_own_pictures_also_where_it_keeps_one(upload):
    predictors = {"model": make_predictor(max_images=1)}
    sessions = [DemoSession(upload(seed=seed), predictors) for seed in (0, 1)]
    other = make_predictor()
    for x in (20, 40, 60):
        for seed, session in enumerate(sessions):
            session.undo()
            session.add_point(x, 30, 1)
            expected = predicted(other, random_image((60, 90), seed), points=[[x, 30]], multimask_output=True)[1]
            assert np.array_equal(session.answer.hq, expected)


def test_automatic_masks_are_numbered_and_put_away_by_the_next_step(session):
    session.add_point(40, 30, 1)
    before = session.mask()
    session.find_everything()
    assert len(session.records) > 1
    numbers = session.mask()
    assert numbers.shape == (60, 90)
    assert set(np.unique(numbers)) <= set(range(len(session.records) + 1))
    assert len(np.unique(numbers)) > 2
    assert np.array_equal(np.asarray(Image.open(session.save("mask"))), numbers)
    with pytest.raises(ValueError, match="A cut-out is of one object"):
        session.save("cutout")
    session.undo()
    assert session.records is None
    assert np.array_equal(session.mask(), before)
    assert len(session.prompts.points) == 1


def test_automatic_masks_of_a_large_picture_are_numbered_at_its_size(large):
    large.find_everything()
    assert large.mask().shape == (90, 240)
    assert set(np.unique(large.mask())) <= set(range(len(large.records) + 1))


def test_a_point_beside_the_picture_is_brought_to_its_edge(session):
    session.add_point(-7, 1000, 1)
    session.set_box(-5, -5, 200, 30)
    assert session.prompts == Prompts(((-0.5, 59.5, 1),), (-0.5, -0.5, 89.5, 30))


def test_what_is_refused_leaves_everything_as_it_was(session, monkeypatch):
    monkeypatch.setattr(session_module, "MAX_POINTS", 2)
    session.add_point(40, 30, 1)
    session.add_point(20, 30, 0)
    prompts, answer = session.prompts, session.answer
    with pytest.raises(ValueError, match="There are 2 points, which is the limit"):
        session.add_point(1, 1, 1)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="must be two numbers in pixels"):
        session.add_point(float("nan"), 1, 1)
    with pytest.raises(ValueError, match="must be two numbers in pixels"):
        session.set_box(1, 1, float("inf"), 2)
    with pytest.raises(ValueError, match="label must be 1 .* got 3"):
        session.add_point(1, 1, 3)
    assert session.prompts is prompts
    assert session.answer is answer


def test_the_copy_of_the_picture_outlives_the_upload_and_goes_with_the_session(predictors, upload):
    path = upload()
    session = DemoSession(path, predictors)
    path.unlink()
    session.add_point(40, 30, 1)
    saved = session.save("cutout")
    assert saved.is_file()
    del session
    gc.collect()
    assert not saved.parent.exists()


def test_a_picture_is_turned_upright(predictors, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(random_image((60, 90))).save(tmp_path / "phone.jpg", exif=exif)
    session = DemoSession(tmp_path / "phone.jpg", predictors)
    assert session.size == session.view_size == (90, 60)


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG with a header and no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"no picture at all", r"'notes.txt' is not a picture\. Open a file of one of these kinds: AVIF"),
        ("empty.png", b"", "'empty.png' is not a picture"),
        ("drawing.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is a EPS file"),
        ("scan.png", png_that_claims(12_000, 9_000), "12000 x 9000 pixels, 108 megapixels; the limit is 100"),
        ("bomb.png", png_that_claims(60_000, 60_000), "has far more than 100 megapixels, which is the limit"),
        ("broken.png", png_that_claims(60, 90), "'broken.png' cannot be read as a picture"),
    ],
    ids=["text", "empty", "another kind", "too large", "bomb", "broken"],
)
def test_what_cannot_be_opened_is_told_in_a_sentence(predictors, tmp_path, name, content, message):
    assert MAX_PIXELS == 100_000_000
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        DemoSession(tmp_path / name, predictors)
    assert str(tmp_path) not in str(raised.value)


def test_without_gradio_the_command_tells_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["demo", "--model", "anything"]) == 1
    expected = 'The demo needs gradio, which is not installed. Install it with: pip install "hq-sam-hf[demo]"'
    assert capsys.readouterr().err == f"hq-sam: {expected}\n"


def test_a_layer_is_transparent_outside_the_masks_and_outlined_two_pixels_wide():
    labels = np.zeros((12, 20), dtype=np.uint8)
    labels[1:11, 1:9] = 1
    labels[1:11, 9:19] = 2
    file = io.BytesIO()
    transparent_overlay(labels, [(10, 20, 30), (40, 50, 60)]).save(file, format="PNG")
    rgba = np.asarray(Image.open(file).convert("RGBA"))
    assert np.array_equal(rgba[..., 3] > 0, labels > 0)
    assert rgba[5, 1:19].tolist() == (
        2 * [[255, 255, 255, 255]]
        + 4 * [[10, 20, 30, 128]]
        + 4 * [[255, 255, 255, 255]]  # where the masks meet
        + 6 * [[40, 50, 60, 128]]
        + 2 * [[255, 255, 255, 255]]
    )
    assert (rgba[1:3, 1:19, :3] == 255).all()
    assert np.array_equal(rgba[..., 3] > 0, np.asarray(transparent_overlay(labels > 0).convert("RGBA"))[..., 3] > 0)
