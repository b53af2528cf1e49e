"""The translations of browsers that Debian has in packages of their own. Pure."""

from collections.abc import Mapping, Sequence

# Of Firefox in Debian 12 and 13, by the ends of their packages' names, without those into English.
_FIREFOX = """
    ach af an ar ast az be bg bn br bs ca ca-valencia cak cs cy da de dsb el eo es-ar es-cl es-es es-mx
    et eu fa ff fi fr fur fy-nl ga-ie gd gl gn gu-in he hi-in hr hsb hu hy-am ia id is it ja ka kab kk km
    kn ko lij lt lv mk mr ms my nb-no ne-np nl nn-no oc pa-in pl pt-br pt-pt rm ro ru sat sc sco si sk
    skr sl son sq sr sv-se szl ta te tg th tl tr trs uk ur uz vi xh zh-cn zh-tw
"""
FIREFOX = tuple(_FIREFOX.split())


def packages(languages: Mapping[str, str], locales: Sequence[str]) -> tuple[str, ...]:
    """Return those of the packages ``languages`` (Browser.languages) that ``locales`` need."""
    found = []
    for locale in locales:
        name, _, modifier = locale.lower().partition("@")
        language, _, country = name.partition(".")[0].partition("_")
        if language not in ("c", "en"):
            ends = (f"{language}-{modifier}", f"{language}-{country}", language, "")
            found += [languages[end] for end in ends if end in languages][:1]
    return tuple(found)
