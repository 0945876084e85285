"""The reader: what PyTorch wrote, and everything that it must refuse."""

import collections
import contextlib
import dataclasses
import os
import pickle
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.porting import torch_file, torch_writer

DATA = Path(__file__).parent / "data"
SAVED = DATA / "saved-by-pytorch.pth"  # by torch.save of PyTorch 2.13
# By PyTorch 1.12 in the format from before 1.6, with a numpy number and a Namespace in it.
SAVED_BEFORE_1_6 = DATA / "saved-by-pytorch-before-1.6.pt"


def archive(path, data, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", data)
        file.writestr("archive/data/0", bytes(16))
    return path


# The opcodes of the storage of four float32 in `archive`, and of a 2×2 tensor in it.
STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
)
TENSOR = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
    + STORAGE
    + b"K\x00K\x02K\x02\x86K\x02K\x01\x86\x89ccollections\nOrderedDict\n)RtR"
)
# What torch.save wrote before 1.6: magic number, protocol, system, value, keys, storages.
LEGACY = (
    b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    + b"\x80\x02}X\x01\x00\x00\x00x"
    + TENSOR[2:].replace(b"K\x04tQ", b"K\x04NtQ")
    + b"s."
    + pickle.dumps(["0"], 2)
    + (4).to_bytes(8, "little")
    + np.arange(4, dtype="<f4").tobytes()
)


def test_a_legacy_file_that_is_cut_off(tmp_path):
    (tmp_path / "a.pt").write_bytes(LEGACY)
    value = torch_file.read(tmp_path / "a.pt")
    np.testing.assert_array_equal(value["x"].read(), [[0, 1], [2, 3]])
    (tmp_path / "a.pt").write_bytes(LEGACY[:-1])
    with pytest.raises(UserError, match="15 bytes, 16 were announced"):
        torch_file.read(tmp_path / "a.pt")["x"].read()


@pytest.mark.parametrize("file", [SAVED, SAVED_BEFORE_1_6], ids=["zip", "legacy"])
def test_reads_what_pytorch_saved(file):
    value = torch_file.read(file)
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(value["transposed"].read(), base.T)
    np.testing.assert_array_equal(value["row"].read(), base[1])
    np.testing.assert_array_equal(value["half"].read(), np.array([1.5, -2], jnp.bfloat16))
    np.testing.assert_array_equal(value["parameter"].read(), np.ones(2, np.float32))
    assert value["long"].read() == 7 and value["long"].read().dtype == np.int64
    assert value["empty"].read().shape == (0, 3)
    assert value["list"] == [1, 2.5, None, True, "é"]
    assert value["size"] == (2, 3)


def test_reads_what_the_writer_wrote(tmp_path):
    tensors = collections.OrderedDict(
        x=np.arange(6, dtype=np.float32).reshape(2, 3).T,
        scalar=np.array(3, np.int64),
        empty=np.zeros((0, 3)),
    )
    value = {"model": {"name": "é", "args": {"l": [1, 2.5, None, True], "t": (1,), "sd": tensors}}}
    torch_writer.write(tmp_path / "a.pth", value)
    back = torch_file.read(tmp_path / "a.pth")
    read = back["model"]["args"].pop("sd")
    value["model"]["args"].pop("sd")
    assert back == value
    assert list(read) == list(tensors)
    for name, array in tensors.items():
        np.testing.assert_array_equal(read[name].read(), array)
        assert read[name].read().dtype == array.dtype


def test_the_writer_refuses_what_it_cannot_write(tmp_path):
    with pytest.raises(TypeError, match="complex64"):
        torch_writer.write(tmp_path / "a.pth", {"x": np.zeros(2, np.complex64)})
    assert not list(tmp_path.iterdir())


class Malicious:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
@pytest.mark.parametrize(
    ("function", "name"), [(os.mkdir, "mkdir"), (exec, "exec"), (getattr, "getattr")]
)
def test_nothing_is_executed(tmp_path, monkeypatch, function, name, protocol):
    monkeypatch.chdir(tmp_path)
    argument = "executed" if function is os.mkdir else "import os; os.mkdir('executed')"
    data = pickle.dumps({"model": Malicious(function, argument)}, protocol)
    with pytest.raises(UserError, match=f"refused, loading it would call .*{name}"):
        torch_file.read(archive(tmp_path / "a.pth", data))
    assert not (tmp_path / "executed").exists()


def test_old_opcodes_are_refused_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inst = b"(S'executed'\nios\nmkdir\n."
    obj = b"(cos\nmkdir\nS'executed'\no."
    for data in (inst, obj):
        with pytest.raises(UserError, match=r"os\.mkdir"):
            torch_file.read(archive(tmp_path / "a.pth", data))
    assert not (tmp_path / "executed").exists()


def test_a_file_cannot_change_what_was_read(tmp_path):
    # BUILD would set attributes of whatever is on the stack: of a tensor after it was checked ...
    changes = {"shape": (977,), "strides": (-1,), "offset": 976}
    for state in (changes, (None, changes)):
        data = TENSOR + pickle.dumps(state, 2)[2:-1] + pickle.BUILD + pickle.STOP
        tensor = torch_file.read(archive(tmp_path / "a.pth", data))
        np.testing.assert_array_equal(tensor.read(), np.zeros((2, 2), np.float32))
    # ... or of a dict, whose `items` the reader's caller would then call.
    data = b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb."
    assert list(torch_file.read(archive(tmp_path / "a.pth", data)).items()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": (977,), "strides": (-1,), "offset": 976},
        {"strides": (-(2**30), 1)},
        {"strides": (2**62, 1)},
        {"shape": (2**40,), "strides": (0,)},
        {"shape": (2, 2), "strides": (1,)},
        {"shape": (1,) * 99, "strides": (1,) * 99},
        {"offset": -1},
        {"shape": (2.0, 2)},
    ],
)
def test_a_tensor_that_does_not_lie_in_its_storage(tmp_path, changes):
    tensor = torch_file.read(archive(tmp_path / "a.pth", TENSOR + pickle.STOP))
    with pytest.raises(UserError, match="beyond its storage of 4 numbers"):
        dataclasses.replace(tensor, **changes).read()


def test_unknown_objects_beside_the_weights_are_not_made(tmp_path):
    value = {"best": np.float64(31.5), "where": Path("runs"), "weights": [1]}
    read = torch_file.read(archive(tmp_path / "a.pth", pickle.dumps(value, 2)))
    assert read["weights"] == [1]
    assert read["best"].path.startswith("numpy") and read["where"].path == "pathlib.PosixPath"


def test_what_a_message_quotes_is_short(tmp_path):
    # A few opcodes make a tuple of 2⁶⁰ numbers; nested deeply, it can be neither shown nor hashed.
    wide = b"K\x01" + b"q\x00h\x00\x86" * 60
    deep = b")" + b"\x85" * 200_000
    for value in (wide, deep):
        for end in (b"Q.", b")R.", b"\x85R."):
            with pytest.raises(UserError) as error:
                torch_file.read(archive(tmp_path / "a.pth", b"\x80\x02}" + value + end))
            assert len(str(error.value)) < 1000
        as_key = b"\x80\x02}" + value + b"K\x01s."
        assert list(torch_file.read(archive(tmp_path / "a.pth", as_key)).values()) == [1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 18890445\n",
            "Git LFS pointer.*git lfs pull",
        ),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b'\x10\x00\x00\x00\x00\x00\x00\x00{"a": 1}', "safetensors"),
        (pickle.dumps({"a": 1}), "bare pickle"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
    ],
)
def test_says_what_a_wrong_file_is(tmp_path, content, message):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"(?s)a.pth: not a PyTorch checkpoint: .*{message}"):
        torch_file.read(path)


def test_no_file_and_a_folder(tmp_path):
    for path in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            torch_file.read(path)


def test_a_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match=r"without 'data\.pkl'"):
        torch_file.read(tmp_path / "a.pth")


def test_a_compressed_member(tmp_path):
    path = archive(tmp_path / "a.pth", pickle.dumps(list(range(99))), zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="is compressed"):
        torch_file.read(path)


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_file(tmp_path, keep):
    data = SAVED.read_bytes()
    path = tmp_path / "a.pth"
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(UserError, match="cut off or damaged"):
        torch_file.read(path)


def tensors_in(value):
    if isinstance(value, torch_file.TorchTensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(item)


def read_and_check(path):
    """Reads all tensors of a file; every number must be one of its storage."""
    with contextlib.suppress(UserError):
        for tensor in tensors_in(torch_file.read(path)):
            with contextlib.suppress(UserError):
                numbers = tensor.read()
                storage = tensor.storage
                stored = storage.source.values(storage.key, storage.dtype, storage.length)
                bits = np.dtype(f"V{stored.itemsize}")
                assert set(numbers.reshape(-1).view(bits).tolist()) <= set(
                    stored.view(bits).tolist()
                )


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged") / "a.pth"


CHANGES = st.lists(
    st.tuples(st.integers(0, 1 << 20), st.one_of(st.integers(0, 255), st.binary(max_size=5))),
    min_size=1,
    max_size=4,
)


def changed(data, changes):
    """Some bytes replaced, or cut out and others put in."""
    data = bytearray(data)
    for position, new in changes:
        place = position % len(data)
        data[place : place + 1] = bytes([new]) if isinstance(new, int) else new
    return bytes(data)


@settings(max_examples=150)
@given(CHANGES)
def test_damage_never_raises_anything_else(damaged, changes):
    damaged.write_bytes(changed(SAVED.read_bytes(), changes))
    read_and_check(damaged)


@settings(max_examples=300)
@given(CHANGES, st.booleans())
def test_a_damaged_pickle_never_raises_anything_else(damaged, changes, legacy):
    if legacy:
        damaged.write_bytes(changed(LEGACY, changes))
    else:
        with zipfile.ZipFile(SAVED) as file:
            members = {name: file.read(name) for name in file.namelist()}
        pickled = "saved-by-pytorch/data.pkl"
        members[pickled] = changed(members[pickled], changes)
        with zipfile.ZipFile(damaged, "w") as file:
            for name, data in members.items():
                file.writestr(name, data)
    read_and_check(damaged)


FRAGMENTS = [
    *(
        TENSOR[2:],
        STORAGE,
        b"(",
        b"t",
        b"\x85",
        b"\x86",
        b"\x87",
        b"}",
        b"]",
        b")",
        b"N",
        b"0",
        b"2",
    ),
    *(b"b", b"b", b"R", b"\x81", b"s", b"u", b"a", b"e", b"Q", b"\x94", b"q\x00", b"h\x00"),
    *(b"K\x00", b"K\x04", b"J\xff\xff\xff\xff", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"h\x01"),
    *(pickle.dumps(x, 2)[2:-1] for x in ("shape", "strides", "offset", "storage", "__dict__")),
    *(pickle.dumps({k: v}, 2)[2:-1] for k, v in [("shape", (977,)), ("strides", (-1,))]),
    *(b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nSize\n"),
]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25))
def test_crafted_pickles(damaged, fragments):
    read_and_check(archive(damaged, b"\x80\x02" + b"".join(fragments) + b"."))
