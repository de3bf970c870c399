"""The configuration of a training: what is written is read back, who has the last word, and what an error says."""

import importlib.util
import subprocess
import sys
import types
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from imagemask.errors import InputError, UsageError
from imagemask.learn import models, settings, toml
from imagemask.learn.settings import Model, Settings

ROOT = Path(__file__).parent.parent
FIELDS = {path: field for path, field in settings.fields().items() if path[:1] != ("model",)}
SECTIONS = {path[:1] for path in FIELDS if len(path) > 1}


def values_of(field):
    """Values that a field may have, by its annotation and limits."""
    limits = {
        name: getattr(one, name) for one in field.metadata for name in ("ge", "gt", "le", "lt") if hasattr(one, name)
    }
    return values_of_type(field.annotation, limits)


def values_of_type(kind, limits):
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is tuple:
        return st.lists(values_of_type(get_args(kind)[0], {}), unique=True).map(tuple)
    if isinstance(kind, types.UnionType):
        return st.one_of(values_of_type(one, limits) for one in get_args(kind) if one is not types.NoneType)
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    if kind is float:
        return st.floats(
            low, high, exclude_min="gt" in limits, exclude_max="lt" in limits, allow_infinity=False, allow_nan=False
        )
    if kind is int:
        return st.integers(low if low is not None else -(2**31), high - 1 if "lt" in limits else high or 2**31)
    return {bool: st.booleans(), str: st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)}[kind]


def tables(fields):
    """Some of the fields of a table, with values."""
    return st.fixed_dictionaries({}, optional={name: values_of(field) for name, field in fields.items()})


MODELS = st.sampled_from(models.names()).flatmap(
    lambda name: tables(models.load(name).Options.model_fields).map(lambda options: {**options, "name": name})
)
TREES = st.fixed_dictionaries(
    {"model": MODELS},
    optional={
        **{path[0]: values_of(field) for path, field in FIELDS.items() if len(path) == 1 and path not in SECTIONS},
        **{
            name: tables({path[1]: field for path, field in FIELDS.items() if path[0] == name and len(path) > 1})
            for (name,) in SECTIONS
        },
    },
)


@given(TREES)
def test_what_is_written_is_read_back(tree):
    text = toml.dumps(tree)
    try:
        told = settings.parse(text, place="some.toml")
    except InputError:
        assume(False)  # options that do not go together
    assert settings.parse(settings.dump(told), place="again.toml") == told
    assert settings.parse(settings.dump(settings.filled(told)), place="again.toml") == settings.filled(told)


def test_no_file_and_an_empty_file_are_the_defaults(tmp_path):
    (tmp_path / "empty.toml").write_text("")
    assert settings.load() == settings.load(tmp_path / "empty.toml") == Settings()


@pytest.mark.parametrize("name", models.names())
def test_what_may_be_left_out_is_none_by_default(name):
    """TOML has no null: a value that is None must be what a missing key means."""
    for path, field in settings.fields({"model": {"name": name}}).items():
        if isinstance(field.annotation, types.UnionType) and types.NoneType in get_args(field.annotation):
            assert field.default is None, path


@pytest.mark.parametrize("name", models.names())
def test_every_key_is_described(name):
    for path, field in settings.fields({"model": {"name": name}}).items():
        assert field.description or path in SECTIONS or path == ("model",), path


def test_the_command_line_goes_before_the_file_and_the_file_before_the_defaults(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('seed = 3\n[schedule]\nepochs = 7\nbatch_size = 2\n[model]\nname = "unet"\nlevels = 4\n')
    told = settings.load(path, {"epochs": 9, "model": "attention-unet", "batch_size": None, "model.filters": 8})
    assert (told.seed, told.schedule.epochs, told.schedule.batch_size) == (3, 9, 2)
    assert told.schedule.early_stopping == Settings().schedule.early_stopping
    assert told.model == Model(name="attention-unet", levels=4, filters=8)
    assert told.model.options == models.options("attention-unet", {"levels": 4, "filters": 8})


def test_a_value_of_the_command_line_stands_in_for_a_wrong_one_of_the_file():
    assert settings.parse("[schedule]\nepochs = 0", place="c.toml", given={"epochs": 5}).schedule.epochs == 5
    assert settings.parse("schedule = 0", place="c.toml", given={"epochs": 5}).schedule.epochs == 5


def test_every_option_stands_for_a_key():
    known = {toml_path(path) for path in settings.fields()}
    assert set(settings.OPTIONS.values()) <= known


def toml_path(path):
    return ".".join(path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "--epochs 0: must be greater than or equal to 1"),
        ({"batch_size": "3"}, "--batch-size '3': must be a valid integer"),
        ({"model": "unett"}, "--model 'unett': must be 'attention-unet' or 'unet'. Did you mean \"unet\"?"),
        ({"model.levels": 1}, "--levels 1: must be greater than or equal to 2"),
        ({"model.kernel_size": 4}, "--kernel-size 4: kernel_size is 4, and must be odd"),
        ({"model.level": 3}, "--level 3: model.level is no key. Did you mean levels?"),
        ({"precision": "half"}, "--precision 'half': must be 'auto', 'float32' or 'bfloat16'"),
    ],
)
def test_a_wrong_option_is_named(given, message):
    with pytest.raises(UsageError) as caught:
        settings.load(None, given)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nepochs = 3", "c.toml:2: epochs is no key. It belongs into the table [schedule]"),
        ("[data]\nseed = 3", "c.toml:2: data.seed is no key. It belongs to the top, before the first table"),
        ("\n[schedul]\nepochs = 1", "c.toml:2: schedul is no key. Did you mean schedule?"),
        ("[optimizer]", "c.toml:1: optimizer is no key. Did you mean optimiser?"),
        ("[schedule]\n# epochs\n'epoch' = 3", "c.toml:3: schedule.epoch is no key. Did you mean epochs?"),
        ("schedule.epoch = 3", "c.toml:1: schedule.epoch is no key. Did you mean epochs?"),
        ("model = { name = 'unet',  level = 3 }", "c.toml:1: model.level is no key. Did you mean levels?"),
        ("[model]\nepoch_s = 3", "c.toml:2: model.epoch_s is no key. Did you mean schedule.epochs?"),
        ("[data]\nqqq = 1", "c.toml:2: data.qqq is no key. There are crop_share, dataset, fold, foreground_share"),
        ("[schedule]\n\nepochs = 0", "c.toml:3: schedule.epochs = 0: must be greater than or equal to 1"),
        ('[schedule]\nepochs = "3"', 'c.toml:2: schedule.epochs = "3": must be a valid integer'),
        ("[output]\ntensorboard = 1", "c.toml:2: output.tensorboard = 1: must be a valid boolean"),
        ("seed = true", "c.toml:1: seed = true: must be a valid integer"),
        ("seed = 1979-05-27", "c.toml:1: seed = 1979-05-27: must be a valid integer"),
        ("[augmentation]\nnoise = nan", "c.toml:2: augmentation.noise = nan: must be a finite number"),
        ("model = 3", "c.toml:1: model = 3: must be a table"),
        ('metrics = "dice"', 'c.toml:1: metrics = "dice": must be a list'),
        ('metrics = [\n"dice_coef",\n"iou"]', 'c.toml:3: metrics[1] = "iou": must be'),
        ('metrics = [\n"dice_coef",\n"iou"]', 'Did you mean "iou_coef"?'),
        ('metrics = ["iou_coef", "iou_coef"]', "c.toml:1: metrics = "),
        ('metrics = ["iou_coef", "iou_coef"]', "iou_coef stands more than once"),
        ('[loss]\nname = "dice_los"', 'Did you mean "dice_loss"?'),
        ("[loss]\n\ngamma = 2.0", "c.toml:3: loss.gamma = 2.0: gamma is no parameter of dice_cross_entropy, which has"),
        (
            '[loss]\nname = "focal"\nalpha = 2.0',
            "c.toml:3: loss.alpha = 2.0: alpha is 2, and must be at most 1 for focal",
        ),
        ("[model]\nlevels = 3\ndeep_supervision = 2", "c.toml:3: model.deep_supervision = 2: deep_supervision is 2"),
        ("[model]\ndropout = 0.3\nlevels = 6", "c.toml:2: model.dropout = 0.3: dropout 0.3 times the level"),
        ('[model]\nname = "vnet"', "c.toml:2: model.name = \"vnet\": must be 'attention-unet' or 'unet'"),
        ("[model]\nname = 3", "c.toml:2: model.name = 3: must be a valid string"),
        ("x = ", "c.toml: not TOML: "),
    ],
)
def test_an_error_names_file_line_key_value_and_the_nearest_valid_one(text, message):
    with pytest.raises(InputError) as caught:
        settings.parse(text, place="c.toml")
    assert message in str(caught.value)


def test_every_error_of_a_file_is_told_in_the_order_of_its_lines():
    with pytest.raises(InputError) as caught:
        settings.parse("[schedule]\nepochs = 0\n[data]\nfold = -1\n[model]\nlevel = 2\n", place="c.toml")
    first, second, third = caught.value.reason.split("; ")
    assert (first[:8], second[:8], third[:8]) == ("c.toml:2", "c.toml:4", "c.toml:6")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    for path in (tmp_path / "latin.toml", tmp_path / "none.toml"):
        with pytest.raises(InputError, match=path.name):
            settings.load(path)


def test_filled_settings_hold_every_option_of_the_model_and_what_the_dataset_has():
    told = settings.parse("[model]\nheight = 64\ndropout = 0", place="c.toml")
    whole = settings.filled(told, height=512, width=128, channels=1, classes=3)
    options = whole.model.options
    assert (options.height, options.width, options.channels, options.classes) == (64, 128, 1, 3)
    assert whole.model.given == options.model_dump(exclude_none=True)
    with pytest.raises(UsageError, match="channels"):
        settings.filled(told, channels=0)


def test_neither_keras_nor_numpy_is_imported():
    code = (
        "import sys; from imagemask.learn import seed_config, settings; settings.load(); "
        "heavy = {'keras', 'numpy', 'tensorflow', 'jax'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_of_keys_is_fresh():
    spec = importlib.util.spec_from_file_location("training_keys", ROOT / "docs" / "training_keys.py")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "run python docs/training_keys.py"


def test_the_example_of_the_page_is_a_configuration():
    _, example, *_ = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").split("```")
    assert settings.parse(example.removeprefix("toml\n"), place="page").schedule.epochs == 50


def test_losses_metrics_and_their_parameters_are_those_that_there_are():
    pytest.importorskip("keras")
    from imagemask.learn import losses, metrics

    fields = settings.fields()
    names = get_args(fields["loss", "name"].annotation)
    assert sorted(names) == losses.names()
    assert settings.Loss().name == losses.DEFAULT
    for name in names:
        for key in losses.parameters(name):
            for value in (-1.0, 0.0, 1e-6, 1.0, 1.5, 1e3, 1e7):
                taken = refused = False
                try:
                    settings.Loss.model_validate({"name": name, key: value})
                except ValueError:
                    taken = True
                try:
                    losses.build(name, {key: value})
                except UsageError:
                    refused = True
                assert taken == refused, (name, key, value)
    assert {key for name in names for key in losses.parameters(name)} == settings.Loss.model_fields.keys() - {"name"}
    assert sorted(get_args(get_args(fields["metrics",].annotation)[0])) == metrics.names()
    assert Settings().metrics == metrics.DEFAULT
