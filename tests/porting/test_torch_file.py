"""The reader: what PyTorch wrote, and everything that it must refuse."""

import collections
import contextlib
import os
import pickle
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.porting import torch_file, torch_writer

SAVED = Path(__file__).parent / "data" / "saved-by-pytorch.pth"  # by torch.save of PyTorch 2.13


def archive(path, data, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", data)
        file.writestr("archive/data/0", bytes(16))
    return path


def test_reads_what_pytorch_saved():
    value = torch_file.read(SAVED)
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


def test_a_file_cannot_change_the_reader(tmp_path):
    # BUILD sets attributes of whatever is on the stack.
    function = b"ctorch._utils\n_rebuild_tensor_v2\n"
    data = b"\x80\x02" + function + b"}X\x05\x00\x00\x00extraK\x01sb."
    value = torch_file.read(archive(tmp_path / "a.pth", data))
    assert value.extra == 1
    assert not hasattr(torch_file._tensor, "extra")
    assert torch_file.read(SAVED)["row"].read().shape == (4,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 18890445\n",
            "Git LFS pointer.*git lfs pull",
        ),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "before 1.6"),
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


def test_a_tensor_beyond_its_storage(tmp_path):
    torch_writer.write(tmp_path / "a.pth", [np.zeros(4, np.float32)])
    tensor = torch_file.read(tmp_path / "a.pth")[0]
    for changed in ({"offset": 1}, {"shape": (5,)}, {"strides": (2,)}):
        broken = torch_file.TorchTensor(**{**vars(tensor), **changed})
        with pytest.raises(UserError, match="beyond its storage"):
            broken.read()


@given(position=st.integers(0, 1 << 20), byte=st.integers(0, 255))
def test_damage_never_raises_anything_else(tmp_path_factory, position, byte):
    data = bytearray(SAVED.read_bytes())
    data[position % len(data)] = byte
    path = tmp_path_factory.mktemp("damaged") / "a.pth"
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        for value in torch_file.read(path).values():
            if isinstance(value, torch_file.TorchTensor):
                value.read()


@given(position=st.integers(0, 1 << 20), byte=st.integers(0, 255))
def test_a_damaged_pickle_never_raises_anything_else(tmp_path_factory, position, byte):
    with zipfile.ZipFile(SAVED) as file:
        data = bytearray(file.read("saved-by-pytorch/data.pkl"))
    data[position % len(data)] = byte
    path = archive(tmp_path_factory.mktemp("damaged") / "a.pth", bytes(data))
    with contextlib.suppress(UserError):
        torch_file.read(path)
