import json

from PIL import Image

from hq_sam_hf.benchmarking.parts import annotation_mask
from hq_sam_hf.benchmarking.video_parts import load_ytvis_part
from hq_sam_hf.masks import mask_to_rle
from support.coco_objects import shifted
from support.video_objects import video_objects


def test_the_masks_of_hq_ytvis_go_before_those_of_youtube_vis(tmp_path):
    truth, _ = video_objects(1)
    for name in truth["videos"][0]["file_names"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (120, 90)).save(tmp_path / name)
    refined = None
    for one in truth["annotations"]:
        coarse = annotation_mask(one, (90, 120), 0)
        refined = None if coarse is None else shifted(coarse, 1, 1)
        rest = [None] * (len(one["segmentations"]) - 1)
        one["segmentations_refined"] = [refined is not None and mask_to_rle(refined) or None, *rest]
    (tmp_path / "ytvis_hq-val.json").write_text(json.dumps(truth))
    part = load_ytvis_part("hq-ytvis", tmp_path / "ytvis_hq-val.json", tmp_path)
    found = annotation_mask(part.ground_truth["annotations"][-1], (90, 120), 0)
    assert (found is None) == (refined is None)
    assert refined is not None
    assert (found == refined).all()
