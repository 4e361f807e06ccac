"""What Kubernetes accepts as the key and the value of a label, and the words in which it refuses others.

The wording is that of k8s.io/apimachinery/pkg/util/validation, because people search for it.
"""

import re

_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + "(\\." + _LABEL + ")*"

_is_name = re.compile(_NAME).fullmatch
_is_value = re.compile(f"({_NAME})?").fullmatch
_is_subdomain = re.compile(_SUBDOMAIN).fullmatch

_NAME_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    f"character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME}')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
    f"for validation is '({_NAME})?')"
)
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_SUBDOMAIN}')"
)


def key_error(key: str) -> str | None:
    """Why `key` is no label key, in apimachinery's words; None when it is one."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        return _invalid(
            "<nil>",
            key,
            [
                f"a valid label key {_NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ],
        )
    problems = []
    if slash and not prefix:
        problems.append("prefix part must be non-empty")
    elif slash:
        if _size(prefix) > 253:
            problems.append("prefix part must be no more than 253 bytes")
        if not _is_subdomain(prefix):
            problems.append(f"prefix part {_SUBDOMAIN_RULE}")
    if not name:
        problems.append("name part must be non-empty")
    elif _size(name) > 63:
        problems.append("name part must be no more than 63 bytes")
    if not _is_name(name):
        problems.append(f"name part {_NAME_RULE}")
    return _invalid("<nil>", key, problems) if problems else None


def value_error(field: str, value: str) -> str | None:
    """Why `value` is no label value, in apimachinery's words with `field` in front; None when it is one."""
    problems = []
    if _size(value) > 63:
        problems.append("must be no more than 63 bytes")
    if not _is_value(value):
        problems.append(_VALUE_RULE)
    return _invalid(field, value, problems) if problems else None


def _size(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _invalid(field: str, value: str, problems: list[str]) -> str:
    return f"{field}: Invalid value: {quote(value)}: {'; '.join(problems)}"


_ESCAPES = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}


def quote(text: str) -> str:
    """`text` as Go's %q writes it: on one line, whatever is in it."""
    return f'"{"".join(map(_quoted, text))}"'


def _quoted(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return _ESCAPES.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
