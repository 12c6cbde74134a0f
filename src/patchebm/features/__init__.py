"""Feature maps of frozen pretrained networks, in which normality can be modelled instead of in pixels."""

from patchebm.features.backbone import BACKBONES, Backbone, load_backbone
from patchebm.features.module_backbone import ModuleBackbone

__all__ = ["BACKBONES", "Backbone", "ModuleBackbone", "load_backbone"]
