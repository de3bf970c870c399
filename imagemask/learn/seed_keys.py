"""Every section and key of the seeds' configuration files: what becomes of it, or why it has no counterpart.

Source: all 146 configurations of the seeds' repositories, and the code that reads them.
"""

from __future__ import annotations

from collections.abc import Iterator

CONVERTED = {
    "model": "model image_width image_height image_channels num_classes base_filters base_kernels num_layers dilation "
    "dropout_rate dropout_seed_fixing activation final_activation normalization input_normalize learning_rate "
    "clipvalue optimizer loss metrics generator",
    "dataset": "class_name datasetclass image_normalize",
    "train": "epochs batch_size patience steps_per_epoch learning_rate_reducer reducer_factor reducer_patience "
    "epoch_change_infer num_infer_images",
    "generator": "augmentation",
    "augmentor": "hflip vflip rotation angles shrinks shears transformer deformation distortion alpha sigmoid "
    "brightening",
    "deformation": "alpha sigmoid sigmoids",
    "distortion": "distortions",
    "brightening": "alpha beta",
}
"""Keys that a setting follows from."""

MISSPELT = {
    ("model", "diation"): "dilation",
    ("augmentor", "alpah"): "alpha",
    ("deformation", "alpah"): "alpha",
    ("train", "epoch_changeinfer"): "epoch_change_tiledinfer",
    ("train", "epoch_changeinfer_dir"): "epoch_change_tiledinfer_dir",
}
"""Misspelt keys that configurations hold, and what was meant."""

NEVER_READ = {
    "model": "base_dilation decoder_channels dice_loss freeze_enc_cnn grid hidden_size hybrid kernel_size ksize "
    "mlp_dim model_compile num_skip pretrain self.activation sharp_ksize",
    "dataset": "input_normalize",
    "train": "create_backups save_model_file",
    "eval": "output_dir",
    "generator": "image_channel",
    "segmentation": "blursize",
    "distortion": "gaussian_filter_sigma",
}
"""Keys that no code ever read, or whose value was never used."""

_DROPPED: dict[str, dict[str, str]] = {
    "an option of an architecture that imagemask does not have": {
        "model": "backbone base_ksize batch_norm depth efficientnet embed_dim filter_num filter_num_begin filters "
        "freeze_backbone freeze_batch_norm image_depth max_filter mlp_activation num_heads num_mlp num_transformer "
        "patch_size pool shift_window stack_num_down stack_num_up weights window_size"
    },
    "a run trains on a dataset: make one of these folders by `imagemask build folder`": {
        "train": "image_datapath mask_datapath images_dir masks_dir",
        "eval": "image_datapath mask_datapath",
        "valid": "image_datapath mask_datapath images_dir masks_dir",
        "test": "image_datapath mask_datapath images_dir masks_dir",
    },
    "`imagemask split` assigns whole patients to train, valid and test": {
        "train": "dataset_splitter",
        "model": "evaluation",
    },
    "pixels are decided when a dataset is built: `imagemask build` has --size, and `folder` --mask-threshold": {
        "dataset": "resize_interpolation image_format color_order rgb_mask mask_format sharpening",
        "image": "color_converter color_order gamma sharpening",
        "mask": "algorithm binarize blur blur_size classes color_order grayscaling mask_channels mask_colors "
        "mask_datatype mask_file_format normalized_threshold rgb_map sharpening threshold",
    },
    "`imagemask build pancreas` reads this source": {
        "generator": "dcms_dir labels_dir output_dir image_height image_width",
        "augmentor": "crop crop_margin",
    },
    "every run has a folder of its own, and none is overwritten": {
        "train": "model_dir eval_dir create_backup best_model_file",
        "eval": "eval_dir",
    },
    "a run keeps the whole model, the best and the last": {"train": "save_weights_only"},
    "history.csv holds every metric of every epoch": {"train": "metrics show_history"},
    "validation goes through its split once an epoch": {"train": "validation_steps"},
    "everything random is seeded": {"train": "seedreset_callback"},
    "a choice of `imagemask predict`": {
        "train": "epoch_change_tiledinfer epoch_change_tiledinfer_dir",
        "infer": "images_dir output_dir merged_dir algorithm threshold blur ksize mask_colorize colorized_dir "
        "colorized_output_format binarize",
        "tiledinfer": "images_dir output_dir merged_dir algorithm background binarize bitwise_blending debug "
        "overlapping split_size threshold",
        "segmentation": "black white colorize",
    },
    "the score does not depend on it": {"eval": "batch_size"},
    "the contact sheet of every epoch lies in the run's folder": {"train": "epoch_change_infer_dir"},
    "`imagemask train --show-augmentation` shows them": {
        "generator": "debug verbose generated_images_dir generated_masks_dir"
    },
    "augmentation has nothing like it": {
        "augmentor": "barrdistortion pincdistortion sharpening",
        "barrdistortion": "amount centers radius",
        "pincdistortion": "amount centers radius",
        "sharpening": "k",
        "distortion": "gaussian_filter_rsigma",
    },
    "for show, or for finding faults": {
        "model": "show_summary",
        "dataset": "debug",
        "inspect": "model_graph summary",
        "debug": "verbose",
    },
}


def _pairs(table: dict[str, str]) -> Iterator[tuple[str, str]]:
    for section, names in table.items():
        for name in names.split():
            yield section, name


DROPPED = {pair: why for why, table in _DROPPED.items() for pair in _pairs(table)}
"""Keys without a counterpart, and why."""

CONVERTED_KEYS = frozenset(_pairs(CONVERTED))
NEVER_READ_KEYS = frozenset(_pairs(NEVER_READ))

KEYS = frozenset({*CONVERTED_KEYS, *NEVER_READ_KEYS, *DROPPED, *MISSPELT})
"""Every key there is, with its section."""

SECTIONS = frozenset({section for section, _ in KEYS} | {"preprocessor"})

LOSSES = {
    "binary_crossentropy": "binary_crossentropy",
    "categorical_crossentropy": "categorical_crossentropy",
    "dice_loss": "dice_loss",
    "dice_loss_multiclass": "dice_loss_multiclass",
    "bce_dice_loss": "bce_dice_loss",
    "iou_loss": "iou_loss",
    "jacard_loss": "iou_loss",
    "bce_iou_loss": "bce_iou_loss",
    "ssim_loss": "ssim_loss",
    "basnet_hybrid_loss": "basnet_hybrid_loss",
}
METRICS = {
    "dice_coef": "dice_coef",
    "dice_coef_multiclass": "dice_coef_multiclass",
    "iou_coef": "iou_coef",
    "jacard_similarity": "iou_coef",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
ACCURACIES = ("binary_accuracy", "categorical_accuracy", "accuracy")
"""Metrics of the seeds without a counterpart: a mask without anything gets nearly 1."""
MODELS = {
    "TensorflowUNet": "unet",
    "TensorFlowFlexUNet": "unet",
    "TensorflowAttentionUNet": "attention-unet",
    "TensorFlowFlexAttentionUNet": "attention-unet",
}
OTHER_MODELS = (
    *("MultiResUNet", "UNet3Plus", "SharpUNet", "U2Net", "SwinUNet", "TransUNet", "EfficientUNet"),
    *("EfficientNetB7UNet", "DeepLabV3Plus", "BASNet", "XceptionLikeUNet", "3DUNet"),
)
"""Architectures of the seeds that there is no model for, without the prefix Tensorflow or TensorFlowFlex."""
DATASETS = (
    *("BaseImageMaskDataset", "ImageMaskDataset", "NormalizedImageMaskDataset", "RGB2GrayscaleImageMaskDataset"),
    "ImageCategorizedMaskDataset",
)
