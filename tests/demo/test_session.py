"""A session of the demo without its page: the predictor's masks, undo, saved files, and clear errors."""

import gc
import importlib.util
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hq_sam_hf import HQSamMaskGenerator, HQSamPredictor, HQSamProcessor
from hq_sam_hf.cli import main
from hq_sam_hf.demo import session as session_module
from hq_sam_hf.demo.session import MAX_PIXELS, DemoPrompts, DemoSession
from support.demo_browser import AUTOMATIC_OPTIONS
from support.images import random_image
from support.oracle import SMALL, lively_pair


def make_predictor(**options) -> HQSamPredictor:
    model = lively_pair(SMALL)[1]
    return HQSamPredictor(model, HQSamProcessor.from_config(model.config), **options)


@pytest.fixture
def upload(tmp_path):
    """Write an image of a size (height, width). Returns its path."""

    def write(size=(60, 90), seed=0, name="image.png"):
        path = tmp_path / name
        Image.fromarray(random_image(size, seed)).save(path)
        return path

    return write


@pytest.fixture
def session(predictors, upload):
    return DemoSession(upload(), predictors, automatic_options=AUTOMATIC_OPTIONS)


def predicted(predictor, image, **prompts):
    """The masks of SAM and of HQ-SAM, from the predictor itself."""
    predictor.set_image(image, name="expected")
    sam = predictor.predict(**prompts, image="expected", sam_only=True)[0][0]
    return sam, predictor.predict(**prompts, image="expected")[0][0]


def test_a_click_gives_the_best_of_three_candidates_of_sam_and_of_hq_sam(session, predictors):
    assert session.result is None
    session.add_point(40, 30, 1)
    sam, hq = predicted(predictors["first"], random_image((60, 90)), points=[[40, 30]], multimask_output=True)
    assert np.array_equal(session.result.sam, sam)
    assert np.array_equal(session.result.hq, hq)
    assert 0 < hq.mean() < 1
    assert not np.array_equal(sam, hq)


def test_points_and_a_box_describe_one_object_and_a_later_box_replaces_it(session, predictors):
    session.set_box(1, 2, 3, 4)
    session.set_box(80, 50, 10, 5)  # any two opposite corners
    session.add_point(40, 30, 1)
    session.add_point(5, 5, 0)
    assert session.prompts == DemoPrompts(((40, 30, 1), (5, 5, 0)), (10, 5, 80, 50))
    expected = predicted(
        predictors["first"], random_image((60, 90)), points=[[40, 30], [5, 5]], labels=[1, 0], boxes=[10, 5, 80, 50]
    )
    assert np.array_equal(session.result.sam, expected[0])
    assert np.array_equal(session.result.hq, expected[1])


def test_undo_goes_back_one_change_at_a_time_also_past_clear(session):
    seen = []
    for step in (lambda: session.add_point(40, 30, 1), lambda: session.set_box(5, 5, 60, 50), session.clear):
        seen.append((session.prompts, session.result))
        step()
    assert (session.prompts, session.result) == (DemoPrompts(), None)
    session.clear()  # there is nothing to clear, so this is no change
    while seen:
        session.undo()
        prompts, result = seen.pop()
        assert session.prompts == prompts
        assert (session.result is None) == (result is None)
        assert result is None or np.array_equal(session.result.hq, result.hq)
    session.undo()
    assert session.prompts == DemoPrompts()


@pytest.fixture
def large(predictors, upload, monkeypatch):
    """A session whose image is twice as large as its view."""
    monkeypatch.setattr(session_module, "VIEW_SIDE", 120)
    return DemoSession(upload((90, 240)), predictors, automatic_options=AUTOMATIC_OPTIONS)


def test_masks_of_a_large_image_are_shown_at_the_size_of_the_view_and_saved_at_full_size(large, predictors):
    large.add_point(150, 40, 1)
    assert large.result.hq.shape == large.view_size == (45, 120)
    full = predicted(predictors["first"], random_image((90, 240)), points=[[150, 40]], multimask_output=True)[1]
    assert np.array_equal(large.mask(), full)
    view = np.asarray(Image.fromarray(large.result.hq).resize((240, 90)))
    assert (view == full).mean() > 0.95


def test_the_mask_and_the_cutout_are_saved_as_png_at_the_size_of_the_image(session):
    for save in (lambda: session.save("mask"), lambda: session.save("cutout")):
        with pytest.raises(ValueError, match=r"no mask yet\. Click on an object first"):
            save()
    session.add_point(40, 30, 1)
    mask, cutout = session.save("mask"), session.save("cutout")
    assert (mask.name, cutout.name) == ("image_mask.png", "image_cutout.png")
    assert np.array_equal(np.asarray(Image.open(mask)), session.result.hq)
    rgba = np.asarray(Image.open(cutout))
    assert np.array_equal(rgba[..., 3], session.result.hq * np.uint8(255))
    assert np.array_equal(
        rgba[..., :3], random_image((60, 90)) * session.result.hq[..., None]
    )  # the file holds no pixel of the background


def test_another_model_predicts_for_the_same_prompts(session, predictors):
    session.add_point(40, 30, 1)
    session.add_point(5, 5, 0)
    session.choose_model("second")
    expected = predicted(predictors["second"], random_image((60, 90)), points=[[40, 30], [5, 5]], labels=[1, 0])
    assert np.array_equal(session.result.hq, expected[1])
    with pytest.raises(ValueError, match="must be one of first, second, got 'third'"):
        session.choose_model("third")
    assert session.model == "second"
    session.undo()
    assert np.array_equal(
        session.result.hq,
        predicted(predictors["second"], random_image((60, 90)), points=[[40, 30]], multimask_output=True)[1],
    )


def test_sessions_keep_their_own_images_even_if_the_predictor_they_share_holds_one(upload):
    predictors = {"model": make_predictor(max_images=1)}
    sessions = [DemoSession(upload(seed=seed), predictors) for seed in (0, 1)]
    other = make_predictor()
    for x in (20, 40, 60):
        for seed, session in enumerate(sessions):
            session.undo()
            session.add_point(x, 30, 1)
            expected = predicted(other, random_image((60, 90), seed), points=[[x, 30]], multimask_output=True)[1]
            assert np.array_equal(session.result.hq, expected)


def test_automatic_masks_are_saved_as_a_label_map_and_removed_by_the_next_change(session):
    session.add_point(40, 30, 1)
    before = session.mask()
    session.generate_masks()
    assert len(session.records) > 1
    labels = session.mask()
    assert labels.shape == (60, 90)
    assert set(np.unique(labels)) <= set(range(len(session.records) + 1))
    assert len(np.unique(labels)) > 2
    assert np.array_equal(np.asarray(Image.open(session.save("mask"))), labels)
    with pytest.raises(ValueError, match="A cut-out shows one object"):
        session.save("cutout")
    session.undo()
    assert session.records is None
    assert np.array_equal(session.mask(), before)
    assert len(session.prompts.points) == 1


CHANGES = {
    "click": lambda session: session.add_point(20, 10, 0),
    "box": lambda session: session.set_box(5, 5, 60, 50),
    "undo": DemoSession.undo,
    "clear": DemoSession.clear,
    "another model": lambda session: session.choose_model("second"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.slow
def test_a_change_during_a_search_is_newer_than_what_the_search_finds(session, monkeypatch, change):
    generate = HQSamMaskGenerator.generate

    def generate_with_change(generator, image):
        records = generate(generator, image)
        change(session)  # as by another thread
        return records

    session.add_point(40, 30, 1)
    monkeypatch.setattr(HQSamMaskGenerator, "generate", generate_with_change)
    assert session.generate_masks() is False
    state = session.state
    assert state.records is None
    monkeypatch.undo()
    assert session.generate_masks() is True
    assert session.records is not None
    assert (session.prompts, session.result) == (state.prompts, state.result)


def test_a_refused_change_during_a_search_does_not_end_it(session, monkeypatch):
    generate = HQSamMaskGenerator.generate

    def generate_with_refused_change(generator, image):
        with pytest.raises(ValueError, match="two finite numbers"):
            session.add_point(float("nan"), 1, 1)
        return generate(generator, image)

    monkeypatch.setattr(HQSamMaskGenerator, "generate", generate_with_refused_change)
    assert session.generate_masks() is True


def test_each_change_has_a_higher_version(session):
    versions = [session.state.version]
    for change in (*CHANGES.values(), DemoSession.generate_masks):
        change(session)
        versions.append(session.state.version)
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("name", ["图" * 80 + ".png", "e\u0301" * 60 + ".png", "x" * 240 + ".png"])
def test_a_long_name_is_cut_for_the_saved_file(predictors, upload, name):
    session = DemoSession(upload(name=name), predictors)
    session.add_point(40, 30, 1)
    saved = session.save("mask")
    assert saved.name.endswith("_mask.png")
    assert saved.name[:20] == name[:20]


def test_a_session_keeps_its_files_in_a_given_folder(predictors, upload, tmp_path):
    (tmp_path / "sessions").mkdir()
    session = DemoSession(upload(), predictors, folder=tmp_path / "sessions")
    session.add_point(40, 30, 1)
    assert session.save("mask").parent.parent == tmp_path / "sessions"


def test_the_label_map_of_a_large_image_has_its_full_size(large):
    large.generate_masks()
    assert large.mask().shape == (90, 240)
    assert set(np.unique(large.mask())) <= set(range(len(large.records) + 1))


def test_points_and_boxes_are_clipped_to_the_image(session):
    session.add_point(-7, 1000, 1)
    session.set_box(-5, -5, 200, 30)
    assert session.prompts == DemoPrompts(((-0.5, 59.5, 1),), (-0.5, -0.5, 89.5, 30))


def test_a_refused_change_leaves_prompts_and_result_as_they_were(session, monkeypatch):
    monkeypatch.setattr(session_module, "MAX_POINTS", 2)
    session.add_point(40, 30, 1)
    session.add_point(20, 30, 0)
    prompts, result = session.prompts, session.result
    with pytest.raises(ValueError, match="There are 2 points, which is the limit"):
        session.add_point(1, 1, 1)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="must be two finite numbers in pixels"):
        session.add_point(float("nan"), 1, 1)
    with pytest.raises(ValueError, match="must be two finite numbers in pixels"):
        session.set_box(1, 1, float("inf"), 2)
    with pytest.raises(ValueError, match="label of a point must be 1 .* got 3"):
        session.add_point(1, 1, 3)
    assert session.prompts is prompts
    assert session.result is result


def test_the_copy_of_the_image_outlives_the_upload_and_is_deleted_with_the_session(predictors, upload):
    path = upload()
    session = DemoSession(path, predictors)
    path.unlink()
    session.add_point(40, 30, 1)
    saved = session.save("cutout")
    assert saved.is_file()
    del session
    gc.collect()
    assert not saved.parent.exists()


def test_an_image_is_turned_upright(predictors, tmp_path):
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
        ("notes.txt", b"no image at all", r"'notes.txt' is not an image\. Open a file in one of these formats: AVIF"),
        ("empty.png", b"", "'empty.png' is not an image"),
        ("drawing.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is in the format EPS"),
        ("scan.png", png_that_claims(12_000, 9_000), "12000 x 9000 pixels, 108 megapixels; the limit is 100"),
        ("bomb.png", png_that_claims(60_000, 60_000), "has far more than 100 megapixels, which is the limit"),
        ("broken.png", png_that_claims(60, 90), "'broken.png' cannot be read as an image"),
    ],
    ids=["text", "empty", "another format", "too large", "bomb", "broken"],
)
def test_a_file_that_cannot_be_opened_is_one_clear_sentence(predictors, tmp_path, name, content, message):
    assert MAX_PIXELS == 100_000_000
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        DemoSession(tmp_path / name, predictors)
    assert str(tmp_path) not in str(raised.value)


def test_without_gradio_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["demo", "--model", "anything"]) == 1
    expected = 'The demo needs gradio, which is not installed. Install it with: pip install "hq-sam-hf[demo]"'
    assert capsys.readouterr().err == f"hq-sam: {expected}\n"
