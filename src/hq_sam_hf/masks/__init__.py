"""Operations on binary masks: encodings, polygons, components, NMS, metrics, drawing, COCO and GeoJSON files.

May import: model, utils.
"""

from typing import TYPE_CHECKING

from ..utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .binary import as_binary_mask
    from .coco import coco_annotation, label_map, save_coco, save_label_map
    from .connected_components import fill_small_holes, find_components, remove_small_components
    from .distance_transform import deepest_pixel
    from .drawing import cutout, overlay, side_by_side, transparent_overlay
    from .geojson import mask_to_geojson, save_geojson
    from .metrics import boundary_iou, mask_iou
    from .nms import box_nms
    from .polygon_filling import polygons_to_mask
    from .polygons import mask_to_polygons
    from .rle import mask_extent, mask_to_bbox, mask_to_rle, rle_to_mask

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "binary": ["as_binary_mask"],
        "coco": ["coco_annotation", "label_map", "save_coco", "save_label_map"],
        "connected_components": ["fill_small_holes", "find_components", "remove_small_components"],
        "distance_transform": ["deepest_pixel"],
        "drawing": ["cutout", "overlay", "side_by_side", "transparent_overlay"],
        "geojson": ["mask_to_geojson", "save_geojson"],
        "metrics": ["boundary_iou", "mask_iou"],
        "nms": ["box_nms"],
        "polygon_filling": ["polygons_to_mask"],
        "polygons": ["mask_to_polygons"],
        "rle": ["mask_extent", "mask_to_bbox", "mask_to_rle", "rle_to_mask"],
    },
)

__all__ = [
    "as_binary_mask",
    "boundary_iou",
    "box_nms",
    "coco_annotation",
    "cutout",
    "deepest_pixel",
    "fill_small_holes",
    "find_components",
    "label_map",
    "mask_extent",
    "mask_iou",
    "mask_to_bbox",
    "mask_to_geojson",
    "mask_to_polygons",
    "mask_to_rle",
    "overlay",
    "polygons_to_mask",
    "remove_small_components",
    "rle_to_mask",
    "save_coco",
    "save_geojson",
    "save_label_map",
    "side_by_side",
    "transparent_overlay",
]
