"""The seeds' configuration files: strictly read, the same network, and a note for every key."""

import contextlib
import json
import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from imagemask.cli import main
from imagemask.errors import InputError, UsageError
from imagemask.learn import seed_config, seed_keys, seed_syntax, settings
from imagemask.learn.settings import Settings

SHARED = Path(__file__).resolve().parents[1].parent / "shared"

PANCREAS = """\
; Pancreas, trained from a generator
[model]
generator = True
image_width = 512
image_height = 512
image_channels = 3
num_classes = 1
base_filters = 16
base_kernels = (5,5)
num_layers = 7
dropout_rate = 0.08
learning_rate = 0.0001
clipvalue = 0.5
dilation = (2,2)
;loss = "binary_crossentropy"
loss = "bce_iou_loss"
metrics = ["binary_accuracy"]
show_summary = False

[train]
epochs = 100
batch_size = 4
steps_per_epoch = 200
validation_steps = 100
patience = 10
metrics = ["binary_accuracy", "val_binary_accuracy"]
image_datapath = "../dataset/train/images/"
mask_datapath = "../dataset/train/masks/"
learning_rate_reducer = False
save_weights_only = True

[infer] ; folders
images_dir = "./mini_test"

[mask]
blur = True
blur_size = (5,5)
#threshold = 128
threshold = 74

[generator]
debug = True
augmentation = True

[augmentor]
vflip = False
hflip = False
rotation = True
angles = [5, 10,]
#shrinks = [0.8]
shears = [0.2]
transformer = True
alpah = 1300
sigmoid = 8
"""

LUNG = """\
[model]
model = "TensorFlowFlexUNet"
generator =  False
image_width = 512
image_height = 512
image_channels = 3
num_classes = 2

base_filters = 16
base_kernels = (9,9)
num_layers = 8
dropout_rate = 0.04
dilation = (1,1)
[model]
learning_rate = 0.00005
[model]
loss = "categorical_crossentropy"
metrics = ["dice_coef_multiclass"]
[dataset]
class_name = "ImageCategorizedMaskDataset"
[train]
learning_rate_reducer = True
reducer_factor = 0.4
reducer_patience = 4
[train]
patience = 10
[mask]
mask_file_format = ".png"
rgb_map = {(0,0,0):0,
   (255,255,255):1}   ; white is the tumour
[train]
epoch_change_infer = True
num_infer_images = 6
"""

OVARIAN = """\
[model]
base_filters = 16
base_kernels = (9,9)
num_layers = 8
dilation = (3,3)
learning_rate = 0.00007
model = "TensorflowUNet"
generator = False
loss = "bce_dice_loss"
metrics = ["dice_coef"]
[train]
learning_rate_reducer = True
reducer_factor = 0.4
reducer_patience = 4
patience = 10
epoch_change_infer = True
epoch_changeinfer = False
num_infer_images = 6
"""

CERVICAL = """\
[model]
image_width = 256
image_height = 256
image_channels = 3
num_classes = 1
base_filters = 16
num_layers = 7
dropout_rate = 0.08
learning_rate = 0.001
dilation = (1,1)
loss = "bce_iou_loss"
metrics = ["iou_coef", "sensitivity", "specificity"]
show_summary = True
[train]
epochs = 100
batch_size = 4
patience = 10
[eval]
output_dir = "./eval_output"
[mask]
threshold = 60
"""

PRINTED = {"001": PANCREAS, "002": LUNG, "003": OVARIAN, "004": CERVICAL}
PARAMETERS = {"001": 31_127_153, "002": 124_996_866, "004": 31_110_001}
BASE = '[model]\nmodel = "TensorflowUNet"\n'


def parse(text, **given):
    return seed_config.parse(text, place="some.config", given=given)


def notes(text, kind):
    return [str(note) for note in parse(text).notes if note.kind == kind]


def parameters(options):
    """Of a UNet without normalization and with transposed convolutions, counted by hand."""
    levels = range(options.levels)
    filters = [options.filters * 2**level for level in levels]
    kernels = [max(3, options.kernel_size - 2 * level) for level in levels]
    before = [options.channels, *filters]
    total = filters[0] * options.classes + options.classes
    for level in levels:
        total += (before[level] + filters[level]) * filters[level] * kernels[level] ** 2 + 2 * filters[level]
    for level in levels[:-1]:
        total += filters[level + 1] * filters[level] * 4 + filters[level]
        total += 3 * filters[level] * filters[level] * kernels[level] ** 2 + 2 * filters[level]
    return total


@pytest.mark.parametrize("seed", PARAMETERS)
def test_a_printed_configuration_gives_the_network_of_its_document(seed):
    options = parse(PRINTED[seed]).settings.model.options
    assert parameters(options) == PARAMETERS[seed]
    assert (options.normalization, options.upsampling, options.rescale_input) == ("none", "transposed", True)
    assert (options.residual, options.deep_supervision, options.max_filters) == (False, 0, None)
    assert options.dropout_by_level


def test_keras_counts_the_same_parameters():
    pytest.importorskip("keras")
    from imagemask.learn import models

    told = parse(CERVICAL).settings.model
    assert models.build(told.name, told.options).count_params() == PARAMETERS["004"]


def test_what_the_pancreas_file_says_is_what_is_set():
    told = parse(PANCREAS).settings
    assert (told.model.options.height, told.model.options.width, told.model.options.channels) == (512, 512, 3)
    assert (told.model.options.dilation, told.model.options.dropout) == (2, 0.08)
    assert (told.model.options.output, told.model.options.activation) == ("sigmoid", "relu")
    assert (told.loss.name, told.metrics) == ("bce_iou_loss", Settings().metrics)
    assert told.optimiser.model_dump(exclude={"weight_decay"}) == {
        "name": "adam",
        "learning_rate": 0.0001,
        "clipping": "value",
        "clip_at": 0.5,
    }
    assert (told.schedule.epochs, told.schedule.batch_size, told.schedule.steps_per_epoch) == (100, 4, 200)
    assert (told.schedule.early_stopping, told.schedule.decay) == (10, "none")
    assert (told.seed, told.precision, told.data.foreground_share) == (137, "float32", 0.0)
    augmentation = told.augmentation.model_dump()
    assert augmentation.pop("elastic") == pytest.approx(3 * 2.286 / 512, rel=1e-3)
    assert {name: value for name, value in augmentation.items() if value} == {
        "enabled": True,
        "rotation": 10.0,
        "zoom_out": 0.2,  # shrinks is not given, and 0.8 in the seeds' code
        "shear": 0.2,
    }


def test_what_the_lung_file_says_is_what_is_set():
    told = parse(LUNG).settings
    assert (told.model.options.output, told.loss.name) == ("softmax", "categorical_crossentropy")
    assert told.metrics == ("dice_coef_multiclass",)
    assert (told.optimiser.learning_rate, told.optimiser.clip_at) == (5e-5, 0.2)
    assert told.schedule.decay == "plateau"
    assert (told.schedule.reduce_factor, told.schedule.reduce_patience) == (0.4, 4)
    assert (told.augmentation.enabled, told.output.previews) == (False, 6)
    assert any("misspells the reducer's patience" in note for note in notes(LUNG, "assumed"))


def test_what_a_file_does_not_say_is_said():
    """The document of seed 003 prints parts of its configuration; those that the code has no default for are ours."""
    assumed = "\n".join(notes(OVARIAN, "assumed"))
    for key in ("image_height", "image_width", "image_channels", "num_classes", "dropout_rate", "epochs", "batch_size"):
        assert f" {key} is not given" in f" {assumed}"
    options = parse(OVARIAN).settings.model.given
    assert not options.keys() & {"height", "width", "channels", "classes", "dropout"}


@pytest.mark.parametrize("seed", PRINTED)
def test_every_line_with_a_key_has_a_note(seed):
    entries = seed_syntax.entries(PRINTED[seed], place="x")
    assert {entry.line for entry in entries} == {note.line for note in parse(PRINTED[seed]).notes} - {None}


@pytest.mark.parametrize("seed", PRINTED)
def test_the_toml_of_a_seed_is_the_same_configuration(seed):
    told = parse(PRINTED[seed]).settings
    assert settings.parse(settings.dump(told), place="c.toml") == told


def printed(seed):
    """The configuration in a document, from its <pre> blocks: the first that is whole, else all of them in one."""
    (path,) = (SHARED / "seeds").glob(f"{seed}_*.txt")
    blocks = re.findall(r"<pre>(.*?)</pre>", path.read_text(encoding="utf-8"), re.S)
    blocks = [block for block in blocks if re.search(r"^\[\w+\]\s*$", block, re.M)]
    return next((block for block in blocks if "base_filters" in block and "epochs" in block), "".join(blocks))


@pytest.mark.skipif(not (SHARED / "seeds").is_dir(), reason="the seeds' documents are not here")
@pytest.mark.parametrize("seed", PRINTED)
def test_the_configurations_in_the_documents_are_those_of_these_tests(seed):
    assert parse(printed(seed)).settings == parse(PRINTED[seed]).settings


@pytest.mark.skipif(not (SHARED / "facts" / "seeds.md").is_file(), reason="the list of keys is not here")
def test_every_key_of_every_configuration_of_the_seeds_is_known():
    text = (SHARED / "facts" / "seeds.md").read_text(encoding="utf-8")
    table = text.split("### 3.2")[1].split("### 3.3")[0]
    keys = {(row[0], row[1]) for row in re.findall(r"^\| (\w+) \| ([\w.]+) \| \w+ \| \d+ \|", table, re.M)}
    assert len(keys) > 150
    assert keys <= seed_keys.KEYS


def test_a_key_is_of_one_kind():
    kinds = (seed_keys.CONVERTED_KEYS, seed_keys.NEVER_READ_KEYS, set(seed_keys.DROPPED), set(seed_keys.MISSPELT))
    assert sum(map(len, kinds)) == len(seed_keys.KEYS)
    assert {(section, meant) for (section, _), meant in seed_keys.MISSPELT.items()} <= seed_keys.KEYS


def test_what_no_code_ever_read_is_listed_as_ignored():
    found = notes(f"{BASE}kernel_size = 3\nself.activation = 'ReLU'\n[train]\ncreate_backups = True", "ignored")
    assert [note.split(": ")[1] for note in found] == [
        *("[model] kernel_size = 3", "[model] self.activation = 'ReLU'", "[train] create_backups = True"),
    ]
    assert parse(f"{BASE}self.activation = 'mish'").settings.model.options.activation == "relu"


@pytest.mark.parametrize(
    ("line", "setting", "value"),
    [
        ("[model]\ndiation = (3,3)", "model.dilation", 3),
        ("[augmentor]\nvflip = Fale", "augmentation.flip_vertical", False),
        ("[augmentor]\nhflip = true", "augmentation.flip_horizontal", True),
        ("[augmentor]\nangles = [90. 180, 270,]", "augmentation.rotation", 180.0),
    ],
)
def test_what_is_misspelt_is_read_as_it_was_meant_and_said(line, setting, value):
    text = f"{BASE}generator = True\n{line}"
    told = parse(text).settings
    section, key = setting.split(".")
    found = told.model.given[key] if section == "model" else getattr(getattr(told, section), key)
    assert (found, type(found)) == (value, type(value))
    assert any(note.startswith("line 5: ") for note in notes(text, "misspelt"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "some.config: has no section [model]"),
        ("epochs = 3", "some.config:1: epochs stands before the first [section]"),
        (f"{BASE}[train]\nepoch = 3", "some.config:4: [train] epoch is no key. Did you mean epochs?"),
        (f"{BASE}epochs = 3", "some.config:3: [model] epochs is no key. It belongs into the table [train]"),
        (f"{BASE}[trian]\nepochs = 3", "some.config:4: [trian] is no section. Did you mean [train]?"),
        (f"{BASE}[zzzzz]\nepochs = 3", "some.config:4: [zzzzz] is no section. There are augmentor, "),
        (f"{BASE}just text", "some.config:3: 'just text' is neither a [section] nor `key = value`"),
        (f"{BASE}num_layers = 7 +", "some.config:3: [model] num_layers = 7 +: not a Python literal"),
        (f"{BASE}num_layers =", "some.config:3: [model] num_layers = : not a Python literal"),
        (f"{BASE}num_layers = __import__('os').getpid()", "not a Python literal"),
        (f"{BASE}loss = dice_loss", "some.config:3: [model] loss = dice_loss: not a Python literal"),
        (f"{BASE}base_kernels = (3,\n\n3", "some.config:3: [model] base_kernels: a bracket is never closed"),
        (f"{BASE}num_layers = '7'", "some.config:3: [model] num_layers = '7': must be a whole number"),
        (f"{BASE}num_layers = 0", "some.config:3: [model] num_layers = 0: must be greater than or equal to 2"),
        (f"{BASE}base_kernels = (3,5)", "some.config:3: [model] base_kernels = (3, 5): must be two equal"),
        (f"{BASE}base_kernels = (4,4)", "some.config:3: [model] base_kernels = 4: kernel_size is 4, and must be odd"),
        (f"{BASE}generator = 1", "some.config:3: [model] generator = 1: must be True or False"),
        (f'{BASE}loss = "dice_los"', "Did you mean dice_loss?"),
        (f'{BASE}metrics = ["dice"]', "some.config:3: [model] metrics = ['dice']: must be one of"),
        (f"{BASE}learning_rate = 1e999", "some.config:3: [model] learning_rate = inf: must be a number"),
        (f"{BASE}num_layers = 5\nnum_layers = 6", "some.config:4: [model] num_layers = 6, but line 3 has"),
        ('[model]\nmodel = "TensorflowSwinUNet"', "config:2: [model] model = 'TensorflowSwinUNet': imagemask does not"),
        ('[model]\nmodel = "TensorflowUnet"', "there is no such architecture. Did you mean TensorflowUNet?"),
    ],
)  # fmt: skip
def test_anything_else_is_an_error_with_its_line(text, message):
    with pytest.raises(InputError) as caught:
        parse(text)
    assert message in str(caught.value)


def test_the_command_line_goes_before_the_file(tmp_path):
    assert parse(LUNG, epochs=3, **{"model.levels": 5}).settings.schedule.epochs == 3
    with pytest.raises(UsageError, match="--batch-size 0"):
        parse(LUNG, batch_size=0)
    (tmp_path / "some.toml").write_text("seed = 5")
    (tmp_path / "some.config").write_text(LUNG)
    assert seed_config.load(tmp_path / "some.toml", {"epochs": 2}).settings == settings.load(
        None, {"seed": 5, "epochs": 2}
    )
    assert seed_config.load(tmp_path / "some.config").settings == parse(LUNG).settings
    assert seed_config.load(None) == seed_config.Converted(Settings())


def test_toml_is_known_by_the_end_of_its_name(tmp_path):
    for name, text in (("some.TOML", "seed = 5"), ("some.config", "seed = 5"), ("other.config", "no")):
        (tmp_path / name).write_text(text)
    assert seed_config.load(tmp_path / "some.TOML").settings.seed == 5
    with pytest.raises(InputError, match=r"if it is TOML, let its name end in \.toml$"):
        seed_config.load(tmp_path / "some.config")
    with pytest.raises(InputError, match="Correct the line$"):
        seed_config.load(tmp_path / "other.config")


def test_defaults_are_those_of_the_seeds_code():
    old, flex = (
        parse(f'[model]\nmodel = "{name}"\nnum_classes = 2').settings
        for name in ("TensorflowUNet", "TensorFlowFlexUNet")
    )
    assert (old.model.options.output, flex.model.options.output) == ("sigmoid", "softmax")
    assert (old.optimiser.clip_at, old.model.options.kernel_size, old.model.options.dilation) == (0.2, 3, 1)
    assert (flex.optimiser.learning_rate, flex.schedule.batch_size, flex.loss.name) == (
        1e-4,
        4,
        "categorical_crossentropy",
    )
    reducing = "[train]\npatience = 7\nlearning_rate_reducer = True"
    assert parse(f"{BASE}{reducing}").settings.schedule.reduce_patience == 3
    assert parse(f"{BASE}{reducing}").settings.schedule.reduce_factor == 0.1
    assert parse(f"{BASE}{reducing}").settings.schedule.decay == "plateau"
    at_once = parse(f"{BASE}{reducing}\nreducer_patience = 0").settings.schedule
    assert at_once.reduce_patience == 1, "what Keras makes of 0"


def test_options_of_the_network_follow_the_file():
    text = 'normalization = True\nactivation = "mish"\ninput_normalize = False\ndropout_seed_fixing = True\n'
    told = parse(f'{BASE}{text}optimizer = "AdamW"').settings
    options = told.model.options
    assert (options.normalization, options.normalization_last, options.batch_momentum) == ("batch", True, 0.99)
    assert (options.activation, options.rescale_input, options.dropout_seed) == ("mish", False, 137)
    assert told.optimiser.name == "adamw"
    read = f'{BASE}input_normalize = False\n[dataset]\ndatasetclass = "NormalizedImageMaskDataset"'
    assert parse(read).settings.model.options.rescale_input
    assert any("divide these pixels by 255 twice" in note for note in notes(read.replace("False", "True"), "assumed"))


def test_the_attention_network_is_ours_and_said_to_be():
    text = '[model]\nmodel = "TensorflowAttentionUNet"\nbase_kernels = (7,7)\ndropout_rate = 0.1'
    told = parse(text).settings.model
    assert (told.name, told.options.kernel_size, told.options.normalization) == ("attention-unet", 3, "batch")
    assert (told.options.upsampling, told.options.dropout_by_level) == ("bilinear", False)
    assert any("not the seeds' layer for layer" in note for note in notes(text, "assumed"))
    assert any("base_kernels" in note for note in notes(text, "dropped"))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("distortion = True\n[distortion]\ndistortions = [0.01, 0.02,]", {"elastic": 0.02}),
        ("deformation = True\n[deformation]\nalpah = 1300\nsigmoids = [8.0,]", {"elastic": 0.013394}),
        ("deformation = True\nsigmoid = 0", {"elastic": 0.0}),
        ("rotation = False\nangles = [90]", {"rotation": 0.0}),
        ("angles = [350, 20]", {"rotation": 20.0}),
        ("shrinks = []\nshears = []", {"zoom_out": 0.0, "shear": 0.0}),
        ("brightening = True\n[brightening]\nalpha = 1.2\nbeta = 51", {"contrast": 0.2, "brightness": 0.2}),
        ("barrdistortion = True", {"elastic": 0.0}),
    ],
)
def test_lists_of_copies_become_the_ranges_that_hold_them(lines, expected):
    told = parse(f"{BASE}image_width = 512\ngenerator = True\n[augmentor]\n{lines}").settings.augmentation.model_dump()
    assert {name: told[name] for name in expected} == pytest.approx(expected)


def test_without_a_generator_nothing_is_augmented():
    text = f"{BASE}[augmentor]\nvflip = True\n[train]\nsteps_per_epoch = 200"
    told = parse(text)
    assert not told.settings.augmentation.enabled
    assert told.settings.schedule.steps_per_epoch is None
    assert [note.split(" = ")[0] for note in notes(text, "dropped")] == [
        *("line 4: [augmentor] vflip", "line 6: [train] steps_per_epoch"),
    ]


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
COMMENTS = st.sampled_from(["", " ; c = 'd'", "  # [x]"])


@given(st.lists(st.tuples(LITERALS, st.sampled_from([" = ", "=", ": "]), COMMENTS), max_size=4))
def test_literals_are_read_as_python_reads_them(values):
    text = "# top\n\n[ model ] ; comment\n"
    for number, (value, sign, comment) in enumerate(values):
        text += f"Key{number}{sign}{value!r}{comment}\n"
    read = list(seed_syntax.entries(text, place="x"))
    assert [(one.section, one.key, one.value, one.line) for one in read] == [
        ("model", f"key{number}", value, number + 4) for number, (value, _, _) in enumerate(values)
    ]


LINES = st.lists(
    st.sampled_from(
        ["[model]", "[train]", "epochs", "num_layers", "loss", " = ", "=", "(", "3", ",", ")", '"', "'", "x"]
    )
    | st.sampled_from(
        ["\n", ";", "#", "True", "[", "]", "{", "-", "lambda: 0", "*", "1e9999", "\\", "f''", "b''", "..."]
    ),
    max_size=20,
).map("".join)


@given(st.one_of(LINES, st.text()))
def test_any_text_is_a_configuration_or_an_error(text):
    with contextlib.suppress(InputError):
        assert parse(f"{BASE}{text}").settings.model.name == "unet"


def test_nested_brackets_end_in_an_error_and_not_in_a_crash():
    with pytest.raises(InputError, match="not a Python literal"):
        parse(f"{BASE}metrics = {'[' * 100_000}{']' * 100_000}")


def test_constants_of_opencv_stay_text():
    (entry,) = seed_syntax.entries("[mask]\nalgorithm = cv2.THRESH_OTSU", place="x")
    assert entry.value == "cv2.THRESH_OTSU"


def call(*words, code=0):
    done = CliRunner().invoke(main, [str(word) for word in words], prog_name="imagemask", catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done


def test_the_command_prints_toml_on_stdout_and_notes_on_stderr(tmp_path):
    path = tmp_path / "train_eval_infer.config"
    path.write_text(CERVICAL)
    done = call("convert-config", path)
    assert settings.parse(done.stdout, place="stdout") == parse(CERVICAL).settings
    lines = done.stderr.splitlines()
    assert len(lines) == len(parse(CERVICAL).notes)
    assert "imagemask: note: line 6: [model] base_filters = 16 -> model.filters = 16 [converted]" in lines
    (tmp_path / "again.toml").write_text(done.stdout)
    again = call("convert-config", tmp_path / "again.toml")
    assert (again.stdout, again.stderr) == (done.stdout, "")
    assert tomllib.loads(again.stdout)["model"]["levels"] == 7


def test_the_command_prints_json(tmp_path):
    path = tmp_path / "train_eval_infer.config"
    path.write_text(CERVICAL)
    done = call("convert-config", path, "--json")
    told = json.loads(done.stdout)
    assert (told["schema"], done.stderr) == ("imagemask.convert-config/1", "")
    assert told["settings"]["model"]["levels"] == 7
    assert {"line": 6, "kind": "converted", "text": "[model] base_filters = 16 -> model.filters = 16"} in told["notes"]


def test_the_command_refuses_a_wrong_file_in_one_line(tmp_path):
    path = tmp_path / "x.config"
    path.write_text(f"{BASE}[train]\nepoch = 3")
    done = call("convert-config", path, code=4)
    assert done.stdout == ""
    assert done.stderr.startswith(f"imagemask: {path}:4: [train] epoch is no key. Did you mean epochs?")
    assert len(done.stderr.splitlines()) == 1
    call("convert-config", tmp_path / "none.config", code=4)
