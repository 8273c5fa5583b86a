"""Operations on binary masks: encodings, polygons, components, NMS, metrics, drawing, COCO files.

May import: model.
"""
