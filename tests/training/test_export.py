def test_exported_files_name_no_folder_of_the_user(base, finished_run):
    """They may be uploaded, and a path can name a person."""
    for path in (finished_run / "final").iterdir():
        content = path.read_bytes()
        assert str(finished_run.parent).encode() not in content, path.name
        assert str(base.parent).encode() not in content, path.name
    card = (finished_run / "final" / "README.md").read_text()
    assert f"Base model: {base.name}\n" in card
    assert f"model: {base.name}\n" in card
    assert "output_dir: finished\n" in card
    assert "base_model" not in card
