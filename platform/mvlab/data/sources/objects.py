"""Targets of images with objects, as COCO annotates them."""

from mvlab.targets import TargetField

IMAGE_ID = TargetField(name="image_id", dtype="int64")
"""Id of the image in its source."""
BOXES = TargetField(name="boxes", dtype="float64", kind="ragged", shape=(4,))
"""Left, top, width and height of each object, in pixels of the image, to the bit as the source has them."""
CATEGORIES = TargetField(name="categories", dtype="int64", stored="int16", kind="ragged")
"""Class of each object, as an index into the data set's class names, from 0."""
CROWD = TargetField(name="crowd", dtype="bool", kind="ragged")
"""True for a box around many objects, which is trained on by nobody and matches any number of detections."""
AREAS = TargetField(name="areas", dtype="float64", kind="ragged")
"""Area of each object in square pixels, as the source states it. Small, medium and large objects differ by it."""
ANNOTATION_IDS = TargetField(name="annotation_ids", dtype="int64", kind="ragged")
"""Id of each object in its source."""
OBJECT_FIELDS = (IMAGE_ID, BOXES, CATEGORIES, CROWD, AREAS, ANNOTATION_IDS)
