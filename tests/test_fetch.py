"""Getting data sets.

Downloads come from a real HTTP server on loopback: they are complete, or leave nothing that a later
run could mistake for a set. Copies are compared, picture by picture, with the fingerprints of the
sets that the results are made of.
"""

import hashlib
import io
import shutil
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from gvstudy.cli import main
from gvstudy.config import Run
from gvstudy.data import fetch as fetching
from gvstudy.data import sets
from gvstudy.data.fetch import compare_with_fingerprints, fetch, fingerprint, known_fingerprints
from gvstudy.data.sets import archives, load_images, registry
from gvstudy.paths import package_data
from gvstudy.study.store import Store

RESEARCH = [
    "BSDS500", "BSDS500-valid", "DIV2K_train_centre128", "DIV2K_valid_centre256", "Set14", "Set5",
    "T91", "Urban100",
]  # fmt: skip
FINGERPRINTED = sorted(Path(entry.name).stem for entry in package_data("fingerprints").iterdir())


def png(seed, side=8):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def packed(kind, members):
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return file.getvalue() if kind != "deb" else package(file.getvalue())


def package(files):
    """A Debian package with that tar of files: an archive of type ar, made by hand."""
    members = {"debian-binary": b"2.0\n", "control.tar": b"odd", "data.tar": files}
    made = b"!<arch>\n"
    for name, content in members.items():
        made += f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        made += content + b"\n" * (len(content) % 2)
    return made


GOOD = {f"top/Tiny/HR/{i}.png": png(i) for i in range(3)} | {
    "top/Tiny/LR/0.png": png(9),
    "top/readme.txt": b"hello",
}


class Server:
    """Serves `content`; can break off in the middle or answer 404."""

    def __init__(self):
        self.content, self.broken, self.requests = b"", False, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests += 1
                if self.path.startswith("/missing"):
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(outer.content)))
                self.end_headers()
                half = len(outer.content) // 2 if outer.broken else None
                self.wfile.write(outer.content[:half])

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, file):
        return f"http://127.0.0.1:{self.http.server_port}/{file}"


@pytest.fixture
def server():
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def tiny(server, tmp_path, monkeypatch):
    """A set `Tiny` of three pictures in an archive on the server; downloads go to `tmp_path`."""
    monkeypatch.delenv("GVSTUDY_DATA", raising=False)
    for module in (sets, fetching):
        monkeypatch.setattr(module, "downloads_folder", lambda: tmp_path / "downloads")
    entry = {"what": "tiny", "role": "test", "terms": "", "folders": ["Tiny"], "count": 3}
    entry |= {"archive": "tiny", "inside": "top/Tiny/HR"}
    monkeypatch.setitem(registry(), "Tiny", entry)

    def serve(content, file="tiny.zip", checksum=None):
        server.content = content
        checksum = checksum or f"sha256:{hashlib.sha256(content).hexdigest()}"
        archive = {"url": server.url(file), "checksum": checksum}
        monkeypatch.setitem(archives(), "tiny", archive)

    return serve


def left_behind(tmp_path):
    """Everything under downloads but a finished archive."""
    found = (tmp_path / "downloads").rglob("*")
    return {path.name for path in found if path.is_file() and path.parent.name != "archives"}


def fails(tmp_path, message):
    with pytest.raises(ValueError, match=message) as caught:
        fetch("Tiny")
    assert "by hand: put its 3 pictures into" in str(caught.value)
    assert not (tmp_path / "downloads" / "Tiny").exists()
    assert not left_behind(tmp_path)
    with pytest.raises(ValueError, match="Tiny is not here"):
        load_images("Tiny")


@pytest.mark.parametrize("kind", ["zip", "tar", "deb"])
def test_a_complete_download(kind, tiny, server, tmp_path):
    tiny(packed(kind, GOOD), f"tiny.{kind}")
    folder = fetch("Tiny")
    assert folder == tmp_path / "downloads" / "Tiny"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        f"{i}.png": png(i) for i in range(3)
    }
    assert list(load_images("Tiny")) == ["0", "1", "2"]
    assert fetch("Tiny") == folder
    assert server.requests == 1


def test_a_set_is_on_the_disk_before_it_has_its_name(tiny, on_disk):
    tiny(packed("zip", GOOD))
    assert on_disk(fetch("Tiny"))


def test_the_archive_is_downloaded_once(tiny, server, tmp_path):
    tiny(packed("zip", GOOD))
    shutil.rmtree(fetch("Tiny"))
    fetch("Tiny")
    assert server.requests == 1


def test_cut_off_in_the_middle_then_complete(tiny, server, tmp_path):
    tiny(packed("zip", GOOD))
    server.broken = True
    fails(tmp_path, "Tiny from http")
    assert not list((tmp_path / "downloads" / "archives").iterdir())
    server.broken = False
    assert fetch("Tiny").is_dir()


def test_a_wrong_checksum(tiny, tmp_path):
    tiny(packed("zip", GOOD), checksum="md5:" + "0" * 32)
    fails(tmp_path, "hash")
    assert not list((tmp_path / "downloads" / "archives").iterdir())


def test_not_found(tiny, tmp_path):
    tiny(packed("zip", GOOD), "missing.zip")
    fails(tmp_path, "404")


def test_no_network(tiny, server, tmp_path):
    tiny(packed("zip", GOOD))
    server.http.server_close()
    server.http.shutdown()
    fails(tmp_path, r"^Tiny from http\S*: the server can't be reached; by hand: put its [^\n]*$")


@pytest.mark.parametrize("kind", ["zip", "tar", "deb"])
@pytest.mark.parametrize(
    "evil", ["../../evil.png", "top/Tiny/HR/../../../../evil.png", "/evil.png"]
)
def test_a_path_that_leads_out_of_the_archive(kind, evil, tiny, tmp_path):
    tiny(packed(kind, GOOD | {evil: png(7)}), f"tiny.{kind}")
    fails(tmp_path, "holds the unsafe path")
    assert not list(tmp_path.rglob("evil.png"))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_not_unpacked(kind, tiny, tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("top/Tiny/HR/link.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    tiny(file.getvalue(), "tiny.tar")
    fails(tmp_path, "0 pictures in top/Tiny/HR, expected 3")


def test_an_archive_without_the_complete_set(tiny, tmp_path):
    tiny(packed("zip", {"top/Tiny/HR/0.png": png(0)}))
    fails(tmp_path, "holds 1 pictures in top/Tiny/HR, expected 3")


def test_an_incomplete_set_is_not_taken_for_the_set(tiny):
    tiny(packed("zip", GOOD))
    folder = fetch("Tiny")
    (folder / "1.png").unlink()
    with pytest.raises(ValueError, match=r"Tiny in .* is incomplete: 2 pictures, expected 3"):
        fetch("Tiny")


def test_an_archive_with_more_pictures_than_the_set(tiny, tmp_path):
    tiny(packed("zip", GOOD | {"top/Tiny/HR/3.png": png(3)}))
    fails(tmp_path, "holds more than 3 pictures in top/Tiny/HR")


@pytest.mark.parametrize("kind", ["zip", "tar", "deb"])
def test_a_bomb_is_refused_by_its_unpacked_size(kind, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "LARGEST", 10_000)
    bomb = {"top/Tiny/HR/1.png": bytes(10_001)}
    tiny(packed(kind, GOOD | bomb), f"tiny.{kind}")
    fails(tmp_path, r"top/Tiny/HR/1.png in tiny.* unpacks to 10,001 bytes")


@pytest.mark.parametrize("broken", [b"!<arch>\n", b"!<arch>\n" + b"x" * 60])
def test_a_package_without_files(broken, tiny, tmp_path):
    tiny(broken, "tiny.deb")
    fails(tmp_path, "Tiny from http")


def test_a_set_can_be_shrunk(tiny, monkeypatch):
    large = torch.arange(7 * 6 * 3, dtype=torch.uint8).reshape(3, 7, 6)  # a row is left over
    file = io.BytesIO()
    Image.fromarray(large.permute(1, 2, 0).numpy()).save(file, "png")
    tiny(packed("zip", {f"top/Tiny/HR/{i}.png": file.getvalue() for i in range(3)}))
    monkeypatch.setitem(registry()["Tiny"], "shrink", 3)
    fetch("Tiny")
    small = load_images("Tiny")["0"]
    blocks = large[:, :6].double().reshape(3, 2, 3, 2, 3).mean(dim=(2, 4))
    assert torch.equal(small, blocks.round().to(torch.uint8))


def test_a_file_that_is_not_an_archive(tiny, tmp_path):
    tiny(b"no archive at all")
    fails(tmp_path, "Tiny from http")


def test_a_full_disk(tiny, tmp_path, monkeypatch):
    tiny(packed("zip", GOOD))

    def full(source, target):
        target.write(source.read(10))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    fails(tmp_path, "No space left on device")
    monkeypatch.undo()


def test_an_interruption_leaves_nothing(tiny, tmp_path, monkeypatch):
    tiny(packed("zip", GOOD))

    def interrupted(source, target):
        target.write(source.read(10))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch("Tiny")
    assert not left_behind(tmp_path)
    assert len(list(fetch("Tiny").iterdir())) == 3


def test_div2k_is_measured_as_soon_as_it_is_there(server, tmp_path, monkeypatch):
    """From an archive of DIV2K's layout, with three small pictures, to a row per image."""
    monkeypatch.delenv("GVSTUDY_DATA", raising=False)
    for module in (sets, fetching):
        monkeypatch.setattr(module, "downloads_folder", lambda: tmp_path / "downloads")
    names = ["0801", "0802", "0803"]
    server.content = packed("zip", {f"DIV2K_valid_HR/{n}.png": png(int(n), 32) for n in names})
    checksum = f"sha256:{hashlib.sha256(server.content).hexdigest()}"
    archive = {"url": server.url("DIV2K_valid_HR.zip"), "checksum": checksum}
    monkeypatch.setitem(archives(), "DIV2K_valid_HR", archive)
    monkeypatch.setitem(registry()["DIV2K-valid"], "count", 3)
    store = Store(tmp_path / "runs")
    run = Run(model="espcn", steps=3, batch_size=2, crop_size=24)
    with pytest.raises(ValueError, match="DIV2K_valid_HR is not here"):
        store.results([run], ["DIV2K-valid"], progress=False)
    assert not store.folder.exists()
    fetch("DIV2K-valid")
    rows = store.results([run], ["DIV2K-valid"], progress=False)
    assert rows["image"].to_list() == names
    assert rows["psnr_rgb"].between(0, 30).all()


def test_sets_without_a_server(tmp_path, monkeypatch):
    monkeypatch.delenv("GVSTUDY_DATA", raising=False)
    monkeypatch.setattr(sets, "downloads_folder", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"T91 has no server.*by hand: put its 91 pictures"):
        fetch("T91")
    with pytest.raises(ValueError, match=r"put its pictures into .*BSDS500/train and .*BSDS500/te"):
        fetch("BSDS500")

    def offline(url, checksum):
        raise OSError("no network")

    monkeypatch.setattr(fetching, "_download", offline)
    for name, source in (("Urban100-first20", "Urban100"), ("DIV2K_valid_centre256", "DIV2K-val")):
        with pytest.raises(ValueError, match=f"^{source}.* from https"):
            fetch(name)
    with pytest.raises(ValueError, match="needs no download"):
        fetch("builtin-train")
    with pytest.raises(ValueError, match="'Set6'; known"):
        fetch("Set6")


def test_the_fetch_command(tiny, tmp_path):
    tiny(packed("zip", GOOD))
    result = CliRunner().invoke(main, ["data", "fetch", "Tiny"])
    assert result.exit_code == 0, result.output
    tiny(packed("zip", GOOD), "missing.zip")
    shutil.rmtree(tmp_path / "downloads")
    result = CliRunner().invoke(main, ["data", "fetch", "Tiny"])
    assert result.exit_code == 2
    assert "404" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("name", FINGERPRINTED)
def test_the_committed_fingerprints_are_complete(name):
    table = known_fingerprints(name)
    assert len(table) == registry()[name].get("count", len(registry()[name].get("pictures", ())))
    assert table["image"].is_unique
    assert table["sha256"].str.fullmatch("[0-9a-f]{64}").all()


def test_which_sets_have_fingerprints():
    wanted = set(RESEARCH) | {"builtin-train", "builtin-valid", "builtin-test", "photographs"}
    assert wanted == set(FINGERPRINTED)


@pytest.mark.parametrize("name", ["builtin-train", "builtin-valid", "builtin-test"])
def test_the_built_in_pictures_have_not_changed(name):
    assert set(compare_with_fingerprints(name)["status"]) == {"same"}


def test_a_single_pixel_counts():
    pictures = load_images("builtin-valid")
    before = fingerprint(pictures)
    next(iter(pictures.values()))[0, 0, 0] ^= 1
    changed = before["sha256"] != fingerprint(pictures)["sha256"]
    assert list(changed) == [True, False]


@pytest.fixture
def copy(real_data, tmp_path, monkeypatch):
    """A copy of Set5 that a test may change."""
    shutil.copytree(real_data / "Set5", tmp_path / "Set5")
    monkeypatch.setenv("GVSTUDY_DATA", str(tmp_path))
    return tmp_path / "Set5"


def test_every_difference_of_a_copy_is_reported(copy):
    names = [path.name for path in sorted(copy.iterdir())]
    baby, bird, butterfly, head, woman = (copy / name for name in names)
    Image.open(baby).save(baby.with_suffix(".jpg"), quality=95)
    baby.unlink()
    image = Image.open(bird)
    image.resize((image.width // 2, image.height // 2)).save(bird)
    butterfly.rename(copy / "schmetterling.png")
    head.unlink()
    table = compare_with_fingerprints("Set5").set_index("image")
    assert table["status"].to_dict() == {
        baby.stem: "other pixels",
        bird.stem: "other pixels",
        butterfly.stem: "renamed",
        head.stem: "missing",
        woman.stem: "same",
    }
    halved = f"{image.width // 2}x{image.height // 2}"
    expected = f"{halved} RGB, expected {image.width}x{image.height} RGB"
    assert table.loc[bird.stem, "note"] == expected
    assert table.loc[butterfly.stem, "note"] == "here it is schmetterling"
    Image.new("L", (9, 9)).save(copy / "zebra.png")
    assert compare_with_fingerprints("Set5").set_index("image").loc["zebra", "status"] == "extra"


def test_the_check_command(copy):
    assert CliRunner().invoke(main, ["data", "check", "Set5"]).output == "Set5: 5 same\n"
    next(copy.iterdir()).unlink()
    result = CliRunner().invoke(main, ["data", "check", "Set5"])
    assert result.exit_code == 1
    assert "missing" in result.output
    result = CliRunner().invoke(main, ["data", "check", "B100"])
    assert result.exit_code == 2
    assert "no fingerprints" in result.output


def test_the_photographs_are_those_that_the_fingerprints_describe():
    if not sets.is_there("photographs"):
        pytest.skip("not fetched: gvstudy data fetch photographs")
    assert set(compare_with_fingerprints("photographs")["status"]) == {"same"}


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("name", RESEARCH)
def test_the_real_sets_are_those_of_the_results(name):
    assert set(compare_with_fingerprints(name)["status"]) == {"same"}


def test_tables_have_no_other_columns():
    for name in FINGERPRINTED:
        table = known_fingerprints(name)
        assert list(table) == ["image", "channels", "height", "width", "sha256"]
        assert not pd.isna(table).any().any()
