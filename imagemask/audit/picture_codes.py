"""The codes of the audit about images (AU2xx) and masks (AU3xx): what each means, why it matters, what to do.

How often each is wrong is measured (docs/audit.md); one that is wrong in more than a hundredth of all pairs is advice.
"""

from __future__ import annotations

from imagemask.audit.findings import Code

_LOOK = "Look at it (imagemask report shows pairs); write it again from its source, or remove the pair"
_MASKS_AGAIN = "Write the masks again from their source, without loss (PNG), values 0 and the declared ones"

CODES = {
    "AU201": Code(
        "warning",
        "an image is constant",
        "It shows nothing; a network learns from it that a mask can be guessed",
        _LOOK,
    ),
    "AU202": Code(
        "warning",
        "an image is cut off at both ends: a CT without a window",
        "Hounsfield units were stored as 0 to 255 as they are. Whatever is below 0 (air, lung, fat) is one black, "
        "whatever is above 255 one white; lesions in them cannot be seen",
        "Make the pictures again from the volumes through a window: imagemask build, --window",
    ),
    "AU203": Code(
        "advice",
        "a quarter of an image or more is pure white",
        "An overexposed picture has lost what was bright; a white background has not",
        "Look whether anything of interest is in the white",
    ),
    "AU204": Code(
        "warning",
        "an image is inverted against the rest",
        "Bright and dark have changed places (MONOCHROME1 read as MONOCHROME2, a lookup table left out)",
        "Invert it: 255 less its values; and look at the program that wrote it",
    ),
    "AU205": Code(
        "warning",
        "blank rows or columns at an edge, unlike the rest",
        "The sign of a shift or a bad rotation: if the mask did not move with the image, it is misplaced",
        _LOOK,
    ),
    "AU206": Code(
        "warning",
        "blank corners: the image was turned and its corners were not filled",
        "A network learns to know altered pictures by their corners; and the original may stand in another split",
        "Leave turned copies to augmentation at training, or fill the corners",
    ),
    "AU207": Code(
        "warning",
        "an image has another size than the rest",
        "It is cropped, padded or squashed on the way into a network, or belongs to another data set",
        "Bring it to the size of the rest, image and mask alike: imagemask build folder, --size",
    ),
    "AU208": Code(
        "advice",
        "an image has another number of channels than the rest",
        "Programs that expect the one refuse or misread the other",
        "Write all as grey or all as RGB",
    ),
    "AU301": Code(
        "error",
        "a mask has another size than its image",
        "Whatever brings them together moves the outline",
        "Find out which of the two was resized, cropped or turned, and write it again",
    ),
    "AU302": Code(
        "warning",
        "a mask is stored as JPEG",
        "JPEG blurs an outline into values that nobody drew: read as not 0, the lesion grows",
        _MASKS_AGAIN + "; else cut them at half: imagemask build folder, --mask-threshold 128",
    ),
    "AU303": Code(
        "error",
        "a mask holds a value that dataset.json does not declare",
        "It is no class, and every program makes something else of it",
        "imagemask verify names it, too (IM017): build the case again",
    ),
    "AU304": Code(
        "warning",
        "a mask is grey: many values that fill no area",
        "The sign of JPEG or of interpolation: its outline depends on the threshold of whoever reads it",
        _MASKS_AGAIN,
    ),
    "AU305": Code(
        "warning",
        "masks are misplaced throughout",
        "Their outlines fit the images' edges better elsewhere: mirrored, turned or shifted. A network trained on them "
        "learns noise, and a score over them means nothing",
        "Look at some pairs (imagemask preview), and correct orientation or offset where masks are written",
    ),
    "AU306": Code(
        "advice",
        "a mask fits its image better elsewhere, unlike the rest",
        "It may be mirrored or shifted, or its lesion have faint borders",
        _LOOK,
    ),
    "AU307": Code(
        "advice",
        "a mask has specks beside a large component",
        "A slip of the pen, or noise of a threshold: counts of lesions and distances of outlines are wrong by them",
        "Remove components of a few pixels, if nothing so small is meant",
    ),
    "AU308": Code(
        "warning",
        "a mask fills the picture",
        "Foreground and background may have changed places, or the file is not a mask",
        _LOOK,
    ),
    "AU309": Code(
        "advice",
        "a mask touches the border of the picture",
        "What it outlines is cut off: its size and shape are not those of the lesion",
        "Nothing, if that is how the pictures were taken; else crop less",
    ),
    "AU310": Code(
        "advice",
        "a mask is empty",
        "A picture without a lesion, or an outline that was lost; scores treat it specially",
        "Make sure that nothing is to be seen in it",
    ),
}
