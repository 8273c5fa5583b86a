"""Loading from and pushing to the Hub: the real huggingface_hub client, in fresh processes, and a loopback server."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml

from hq_sam_hf import HQSamModel, HQSamProcessor
from support.hub_server import TOKEN, Hub, Repository
from support.oracle import SMALL, TINY, build_original, pair, port
from support.small_hqseg44k import small_files, write_archives
from support.small_runs import save_base, small_run

pytestmark = pytest.mark.slow  # every test starts processes that import torch and transformers

HELPERS = """
import hashlib, json, sys
from hq_sam_hf import HQSamModel, HQSamProcessor

def digest(model):
    parts = [tensor.numpy().tobytes() for _, tensor in sorted(model.state_dict().items())]
    return hashlib.sha256(b"".join(parts)).hexdigest()

def attempt(call):
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
"""


def digest(model) -> str:
    namespace: dict = {}
    exec(HELPERS, namespace)
    return namespace["digest"](model)


def files_of(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def folder_of(model, folder, **options) -> dict[str, bytes]:
    model.save_pretrained(folder, **options)
    HQSamProcessor.from_config(model.config).save_pretrained(folder)
    return files_of(folder)


@pytest.fixture
def client(tmp_path):
    """Runs code in a fresh process that uses the Hub at a given address. Returns the code's `result`."""

    def run(code: str, address: str, offline: bool = False) -> dict:
        environment = {
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path / "hf_home"),
            "HF_HUB_OFFLINE": "1" if offline else "0",
            "HF_HUB_DISABLE_XET": "1",  # it would fetch large files from another server
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "NO_PROXY": "127.0.0.1",
        }
        result = subprocess.run(
            [sys.executable, "-c", f"{HELPERS}\nresult = {{}}\n{code}\nprint(json.dumps(result))"],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            timeout=300,
        )
        assert result.returncode == 0, result.stderr[-3000:]
        return json.loads(result.stdout.splitlines()[-1])

    return run


def test_damaged_files_of_a_repository_are_told_as_those_of_a_folder(client, tmp_path):
    model = pair(SMALL)[1]
    config = folder_of(model, tmp_path / "model")["config.json"]
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    whole = (tmp_path / "pytorch_model.bin").read_bytes()
    middle = len(whole) // 2
    hole = whole[:middle] + bytes(5000) + whole[middle + 5000 :]
    outside = {"metadata": {}, "weight_map": {"mask_decoder.hq_token.weight": "../../../../outside.safetensors"}}
    repositories = {
        "org/whole": {"pytorch_model.bin": whole},
        "org/hole": {"pytorch_model.bin": hole},
        "org/outside": {"model.safetensors.index.json": json.dumps(outside).encode()},
        "org/no-map": {"model.safetensors.index.json": b'{"metadata": {}}'},
        "org/list": {"model.safetensors.index.json": b"[]"},
    }
    contents = {name: Repository({"main": {"config.json": config, **files}}) for name, files in repositories.items()}
    with Hub(contents) as hub:
        result = client(
            f"""
for name in {list(repositories)!r}:
    result[name] = attempt(lambda: digest(HQSamModel.from_pretrained(name)))
""",
            hub.address,
        )
    assert result["org/whole"] == digest(model)
    assert "damaged or cut short (its record" in result["org/hole"]
    assert "leads out of the folder" in result["org/outside"]
    assert "has no `weight_map`" in result["org/no-map"]
    assert "has no `weight_map`" in result["org/list"]


def test_loading_by_name_revision_and_token_then_offline(client, tmp_path):
    small, other = pair(SMALL)[1], port(build_original(SMALL, seed=1), SMALL)
    sharded = folder_of(small, tmp_path / "sharded", max_shard_size="300KB")
    assert len([name for name in sharded if name.endswith(".safetensors")]) > 2
    torch.save(pair(TINY)[0].state_dict(), tmp_path / "sam_hq_vit_tiny.pth")
    tiny = (tmp_path / "sam_hq_vit_tiny.pth").read_bytes()
    missing = next(name for name in sorted(sharded) if name.startswith("model-00002"))
    incomplete = {name: content for name, content in sharded.items() if name != missing}
    small.save_hq_head(tmp_path / "head")
    repositories = {
        "org/model": Repository(
            {"main": folder_of(small, tmp_path / "main"), "v2": folder_of(other, tmp_path / "v2")}
        ),
        "org/private": Repository({"main": sharded}, private=True),
        "org/incomplete": Repository({"main": incomplete}),
        "org/files": Repository({"main": {"sub/sam_hq_vit_tiny.pth": tiny}}),
        "org/head": Repository({"main": files_of(tmp_path / "head")}),
    }
    with Hub(repositories, cut_off={"sub/sam_hq_vit_tiny.pth"}) as hub:
        result = client(
            f"""
for name, call in {{
    "main": lambda: digest(HQSamModel.from_pretrained("org/model")),
    "v2": lambda: digest(HQSamModel.from_pretrained("org/model", revision="v2")),
    "processor": lambda: HQSamProcessor.from_pretrained("org/model").image_processor.image_size,
    "resized": lambda: HQSamProcessor.from_pretrained("org/model", image_size=64).image_processor.mask_size,
    "private": lambda: digest(HQSamModel.from_pretrained("org/private", token={TOKEN!r})),
    "tiny": lambda: digest(HQSamModel.from_pretrained("org/files/sub/sam_hq_vit_tiny.pth")),
    "tiny processor": lambda: HQSamProcessor.from_pretrained("org/files/sub/sam_hq_vit_tiny.pth").image_processor.size,
    "no token": lambda: digest(HQSamModel.from_pretrained("org/private")),
    "wrong token": lambda: digest(HQSamModel.from_pretrained("org/private", token="hf_wrong")),
    "no repository": lambda: digest(HQSamModel.from_pretrained("org/nothing")),
    "no revision": lambda: digest(HQSamModel.from_pretrained("org/model", revision="v3")),
    "no file": lambda: digest(HQSamModel.from_pretrained("org/files/nothing.pth")),
    "no shard": lambda: digest(HQSamModel.from_pretrained("org/incomplete")),
}}.items():
    result[name] = attempt(call)
model = HQSamModel.from_pretrained("org/model", revision="v2")
model.load_hq_head("org/head")
result["head"] = attempt(lambda: float(model.mask_decoder.hq_token.weight.sum()))
""",
            hub.address,
        )
        assert result["main"] == result["private"] == digest(small)
        assert result["v2"] == digest(other)
        assert result["processor"] == 128
        assert result["resized"] == {"longest_edge": 16}
        assert result["tiny"] == digest(pair(TINY)[1])
        assert result["tiny processor"] == {"longest_edge": 1024}
        assert result["head"] == pytest.approx(small.mask_decoder.hq_token.weight.sum().item())
        for failure in ("no token", "wrong token", "no repository", "no revision", "no file", "no shard"):
            kind, _, message = result[failure].partition(": ")
            assert kind not in ("KeyError", "AttributeError", "TypeError", "UnboundLocalError"), result[failure]
            assert message, failure
        assert "org/private" in result["no token"]
        assert "org/nothing" in result["no repository"]
        assert "v3" in result["no revision"]
        assert "nothing.pth" in result["no file"]
        assert missing in result["no shard"]
        # The first download of this file was cut off after three quarters and then continued from there.
        assert not hub.cut_off
        ranges = ranges_requested(hub, "sam_hq_vit_tiny.pth")
        starts = [int(part.removeprefix("bytes=").split("-")[0]) for part in ranges]
        assert [start for start in starts if 0 < start < len(tiny)]
    offline = client(
        """
result["main"] = digest(HQSamModel.from_pretrained("org/model"))
result["tiny"] = digest(HQSamModel.from_pretrained("org/files/sub/sam_hq_vit_tiny.pth"))
result["other"] = attempt(lambda: digest(HQSamModel.from_pretrained("org/nothing")))
""",
        hub.address,
        offline=True,
    )
    assert offline["main"] == digest(small)
    assert offline["tiny"] == digest(pair(TINY)[1])
    assert "couldn't find them in the cached files" in offline["other"]


def ranges_requested(hub: Hub, file: str) -> list[str]:
    return [requested for _, path, requested in hub.requests if path.endswith(f"/{file}") and requested]


def test_pushing_model_processor_and_card(client, tmp_path):
    model = pair(SMALL)[1]
    folder_of(model, tmp_path / "model")
    torch.save(pair(SMALL)[0].state_dict(), tmp_path / "x.pth")
    with Hub() as hub:
        result = client(
            f"""
import os
os.environ["HF_TOKEN"] = {TOKEN!r}
from hq_sam_hf.cli import main
result["convert"] = main(["convert", "x.pth", "converted", "--push-to-hub", "org/converted"])
result["again"] = digest(HQSamModel.from_pretrained("org/converted"))
model = HQSamModel.from_pretrained("model")
processor = HQSamProcessor.from_pretrained("model")
model.push_to_hub("org/pushed", token={TOKEN!r})
processor.push_to_hub("org/pushed", token={TOKEN!r})
result["pushed"] = digest(HQSamModel.from_pretrained("org/pushed"))
result["processor"] = HQSamProcessor.from_pretrained("org/pushed").to_dict() == processor.to_dict()
result["from the hub"] = main(["convert", "org/converted", "back.pth"])
del os.environ["HF_TOKEN"]
result["no token"] = main(["convert", "x.pth", "again", "--push-to-hub", "org/again"])
""",
            hub.address,
        )
    assert result["convert"] == result["from the hub"] == 0
    assert result["again"] == result["pushed"] == digest(model)
    assert result["processor"] is True
    assert result["no token"] == 1
    converted = hub.repositories["org/converted"].revisions["main"]
    assert {"README.md", "config.json", "model.safetensors"} <= converted.keys()
    assert b"license: apache-2.0" in converted["README.md"]
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    for key, tensor in pair(SMALL)[0].state_dict().items():
        assert torch.equal(back[key], tensor)


def test_a_trained_model_is_uploaded_and_a_failed_upload_loses_nothing(client, tmp_path):
    repositories = {"org/base": Repository({"main": files_of(save_base(tmp_path / "base"))})}
    run = small_run("org/base", "run", max_steps=2, push_to_hub="org/trained")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run.to_dict()))
    with Hub(repositories) as hub:
        result = client(
            f"""
import os
from hq_sam_hf.cli import main
result["no token"] = main(["train", "run.yaml"])
os.environ["HF_TOKEN"] = {TOKEN!r}
result["resumed"] = main(["train", "run.yaml", "--resume"])
result["pushed"] = digest(HQSamModel.from_pretrained("org/trained"))
""",
            hub.address,
        )
    assert result["no token"] == 1
    assert result["resumed"] == 0
    trained = HQSamModel.from_pretrained(tmp_path / "run" / "final")
    assert result["pushed"] == digest(trained)
    assert result["pushed"] != digest(HQSamModel.from_pretrained(tmp_path / "base"))
    card = hub.repositories["org/trained"].revisions["main"]["README.md"].decode()
    assert "base_model: org/base" in card
    assert 'from_pretrained("org/trained")' in card


def test_the_archives_of_hqseg44k_are_downloaded_and_a_broken_download_continues(client, tmp_path):
    large = {"DIS5K/terms.pdf": bytes(30_000_000)}  # the client writes 10 MB at a time
    archives = write_archives(tmp_path / "archives", {**small_files(), **large})
    files = {f"data/{path.name}": path.read_bytes() for path in archives.iterdir()}
    repositories = {"sam-hq-team/sam-hq-training": Repository({"main": files})}
    with Hub(repositories, cut_off={"data/DIS5K.zip"}) as hub:
        result = client(
            """
from hq_sam_hf.cli import main
result["download"] = main(["data", "download", "root"])
result["check"] = main(["data", "check", "root", "--split", "validation"])
""",
            hub.address,
        )
        assert ranges_requested(hub, "DIS5K.zip")  # from where it was cut off
    assert result["download"] == 0
    assert result["check"] == 1  # 2 pairs, expected 470
    for name, content in files.items():
        assert (tmp_path / "root" / name).read_bytes() == content
