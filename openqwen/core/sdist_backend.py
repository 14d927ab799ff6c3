"""A build backend that builds nothing: it hands pip the metadata a source package already carries.

pip prepares a source package's metadata before it lets go of the archive, and for that it would
install a build system and run the package's own code. `core.fetch` puts this file where the
package's build backend is looked up, so that downloading data runs nobody's code (and takes one
second instead of five).
"""

import os
import shutil
from email.parser import HeaderParser
from typing import Any


def prepare_metadata_for_build_wheel(
    metadata_directory: str, config_settings: dict[str, Any] | None = None
) -> str:
    """Copy PKG-INFO of the source package in the current folder to where pip wants it (PEP 517)."""
    with open("PKG-INFO", encoding="utf-8") as file:
        fields = HeaderParser().parse(file)
    folder = f"{fields['Name'].replace('-', '_')}-{fields['Version']}.dist-info"
    os.makedirs(os.path.join(metadata_directory, folder), exist_ok=True)
    shutil.copy("PKG-INFO", os.path.join(metadata_directory, folder, "METADATA"))
    return folder
