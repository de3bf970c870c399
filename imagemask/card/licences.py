"""Licences as others spell them: the Hugging Face Hub's identifiers, and the SPDX page that says what they mean.

The Hub's list: its documentation, "Licenses". What is not on it is ``other``, with a name and, where known, a link.
"""

from __future__ import annotations

import re

_SPDX = (
    *("AFL-3.0", "AGPL-3.0", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear"),
    *("BSL-1.0", "C-UDA-1.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-NC-2.0", "CC-BY-NC-3.0"),
    *("CC-BY-NC-4.0", "CC-BY-NC-ND-3.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-2.0", "CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0"),
    *("CC-BY-ND-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0"),
    *("CDLA-Sharing-1.0", "ECL-2.0", "EPL-1.0", "EPL-2.0", "etalab-2.0", "EUPL-1.1", "GPL-2.0", "GPL-3.0", "ISC"),
    *("LGPL-2.1", "LGPL-3.0", "MIT", "MPL-2.0", "MS-PL", "NCSA", "ODbL-1.0", "ODC-By-1.0", "OFL-1.1", "OSL-3.0"),
    *("PDDL-1.0", "PostgreSQL", "Unlicense", "WTFPL", "Zlib"),
)
_HUB = {"C-UDA-1.0": "c-uda", "ODbL-1.0": "odbl", "ODC-By-1.0": "odc-by", "PDDL-1.0": "pddl"}
"""Identifiers of SPDX that the Hub spells in another way than in small letters."""
_ALSO = {"cc0": "cc0-1.0"}
_NAME = re.compile(r"[^a-z0-9.]+")
_LONGEST = 60


def front_matter(licence: str, url: str) -> list[tuple[str, str]]:
    """The keys of a dataset card's front matter that state a licence, for the Hub."""
    spdx = identifier(licence)
    if spdx:
        return [("license", _HUB.get(spdx, spdx.lower()))]
    if licence.strip().casefold() in ("", "unknown"):
        return [("license", "unknown")]
    name = _NAME.sub("-", licence.lower())[:_LONGEST].strip("-.") or "unnamed"
    return [("license", "other"), ("license_name", name), *([("license_link", url)] if url else [])]


def page(licence: str, url: str) -> str:
    """Where a licence can be read: the source's own link, else SPDX's page, else its name."""
    spdx = identifier(licence)
    return url or (f"https://spdx.org/licenses/{spdx}.html" if spdx else licence)


def identifier(licence: str) -> str:
    """A licence as SPDX spells it, by the many ways in which people do ("CC BY 4.0", "cc-by-4.0"); "" for others."""
    plain = re.sub(r"[\s_]+", "-", licence.strip().lower())
    plain = re.sub(r"-(?:only|or-later)$", "", _ALSO.get(plain, plain))
    return next((spdx for spdx in _SPDX if plain == spdx.lower()), "")
