"""LaTeX formulas as MathML, which browsers draw without a script or a font from a network.

The converter knows the commands of the course's formulas: symbols, scripts, roots, fractions, texts, large operators
with limits, and some environments, for example ``aligned`` and ``cases``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

_TOKEN = re.compile(r"\\(?:[A-Za-z]+|.)|[0-9]+(?:\.[0-9]+)?|\s+|.", re.DOTALL)
_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ϵ", "varepsilon": "ε", "eta": "η", "theta": "θ",
    "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "ϕ",
    "varphi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ",
    "Pi": "Π", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
}  # fmt: skip
_LETTERS = _GREEK | {
    "varnothing": "∅", "emptyset": "∅", "partial": "∂", "nabla": "∇", "infty": "∞", "ell": "ℓ", "dots": "…",
    "ldots": "…", "cdots": "⋯", "top": "⊤", "bot": "⊥", "#": "#", "%": "%", "$": "$", "&": "&", "_": "_",
}  # fmt: skip
_OPERATORS = {
    "subsetneq": "⊊", "supsetneq": "⊋", "subset": "⊂", "supset": "⊃", "subseteq": "⊆", "supseteq": "⊇", "in": "∈",
    "notin": "∉", "ni": "∋", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "ll": "≪", "gg": "≫",
    "approx": "≈", "equiv": "≡", "sim": "∼", "cdot": "⋅", "times": "×", "div": "÷", "pm": "±", "cup": "∪", "cap": "∩",
    "setminus": "∖", "to": "→", "rightarrow": "→", "leftarrow": "←", "Rightarrow": "⇒", "Leftrightarrow": "⇔",
    "iff": "⇔", "mapsto": "↦", "mid": "∣", "colon": ":", "land": "∧", "lor": "∨", "neg": "¬", "forall": "∀",
    "exists": "∃", "circ": "∘", "ast": "∗", "star": "⋆", "prime": "′", "prec": "≺", "preceq": "⪯", "succ": "≻",
}  # fmt: skip
_FENCES = {
    "{": "{", "}": "}", "|": "‖", "lceil": "⌈", "rceil": "⌉", "lfloor": "⌊", "rfloor": "⌋", "langle": "⟨",
    "rangle": "⟩", "lvert": "|", "rvert": "|",
}  # fmt: skip
_LARGE = {"sum": "∑", "prod": "∏", "bigcup": "⋃", "bigcap": "⋂", "int": "∫"}
_WITH_LIMITS = ("min", "max", "lim", "sup", "inf", "argmin", "argmax")
_FUNCTIONS = ("log", "exp", "ln", "sin", "cos", "deg", "dim")
_SPACES = {
    ",": "0.17em",
    ":": "0.22em",
    ">": "0.22em",
    ";": "0.28em",
    "!": "-0.17em",
    " ": "0.33em",
    "quad": "1em",
    "qquad": "2em",
}
_SIZES = ("big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "left", "right", "middle")
_ACCENTS = {"bar": "¯", "hat": "^", "tilde": "~", "overline": "¯", "vec": "→", "dot": "˙"}
_VARIANTS = {"mathbf": "bold", "mathcal": "script", "mathbb": "double-struck", "mathsf": "sans-serif"}
_CHARACTERS = {"-": "−", "*": "∗", "'": "′"}


class FormulaError(ValueError):
    """A formula has a command or environment that this converter does not know, or a brace or argument is missing."""


def mathml(latex: str, *, block: bool = False) -> str:
    """Return a formula as a MathML element.

    Parameters
    ----------
    latex : str
        The formula, without dollar signs.
    block : bool
        Whether the formula is on its own line.

    Raises
    ------
    FormulaError
        If the formula has an unknown command or environment, its braces do not match, or an argument is missing.

    Examples
    --------
    >>> mathml("2 M_v")
    '<math alttext="2 M_v"><mrow><mn>2</mn><msub><mi>M</mi><mi>v</mi></msub></mrow></math>'
    >>> mathml(r"\\wrong")
    Traceback (most recent call last):
    recompviz.widgets.course.mathml.FormulaError: the formula ... has the unknown command ...
    """
    reader = _Reader(latex)
    inner = reader.row(())
    display = ' display="block"' if block else ""
    return f'<math{display} alttext="{escape(latex.strip())}">{inner}</math>'


class _Reader:
    """Reads the tokens of one formula from left to right and returns MathML."""

    def __init__(self, latex: str) -> None:
        self.latex = latex
        self.tokens = list(map(str, _TOKEN.findall(latex)))
        self.at = 0

    def row(self, ends: tuple[str, ...]) -> str:
        """Read to one of the tokens ``ends``, which is consumed, and return an ``mrow``."""
        parts: list[str] = []
        while True:
            token = self.next()
            if token is None:
                if ends:
                    raise FormulaError(f"the formula {self.latex!r} ends before {' or '.join(ends)}")
                break
            if token in ends:
                self.ended_by = token
                break
            if token == "}":
                raise FormulaError(f"the formula {self.latex!r} has a closing brace too many")
            atom, limits = self.atom(token)
            parts.append(self.scripts(atom, limits))
        return parts[0] if len(parts) == 1 and ends else f"<mrow>{''.join(parts)}</mrow>"

    def next(self) -> str | None:
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            self.at += 1
            if not token.isspace():
                return token
        return None

    def peek(self) -> str | None:
        at = self.at
        token = self.next()
        self.at = at
        return token

    def argument(self) -> str:
        """Read one argument: a group in braces, or one token."""
        token = self.next()
        if token is None:
            raise FormulaError(f"the formula {self.latex!r} ends before an argument")
        return self.row(("}",)) if token == "{" else self.atom(token)[0]

    def words(self) -> str:
        """Read a group in braces as text, with its spaces."""
        if self.next() != "{":
            raise FormulaError(f"a text in the formula {self.latex!r} has no braces")
        text = ""
        while True:
            if self.at >= len(self.tokens):
                raise FormulaError(f"a text in the formula {self.latex!r} does not end")
            token = self.tokens[self.at]
            self.at += 1
            if token == "}":
                return text
            text += token.removeprefix("\\")

    def scripts(self, base: str, limits: bool) -> str:
        """Read the subscript, the superscript and the primes of a base."""
        low = high = primes = ""
        while (token := self.peek()) in ("_", "^", "'"):
            self.next()
            if token == "'":
                primes += "′"
            elif token == "_":
                low = self.argument()
            else:
                high = self.argument()
        low, high = _tight(low), _tight(high)
        if primes:  # the character is raised already
            base = f'<mrow>{base}<mo lspace="0" rspace="0">{primes}</mo></mrow>'
        if low and high:
            name = "munderover" if limits else "msubsup"
            return f"<{name}>{base}{low}{high}</{name}>"
        if low:
            name = "munder" if limits else "msub"
            return f"<{name}>{base}{low}</{name}>"
        if high:
            name = "mover" if limits else "msup"
            return f"<{name}>{base}{high}</{name}>"
        return base

    def atom(self, token: str) -> tuple[str, bool]:
        """Return the MathML of one token with its arguments, and whether its scripts are limits below and above it."""
        if token == "{":
            return self.row(("}",)), False
        if token.startswith("\\"):
            return self.command(token[1:])
        if token[0].isdigit():
            return f"<mn>{token}</mn>", False
        if token.isalpha():
            return f"<mi>{token}</mi>", False
        return f"<mo>{escape(_CHARACTERS.get(token, token))}</mo>", False

    def command(self, name: str) -> tuple[str, bool]:
        if name in _LETTERS:
            return f"<mi>{escape(_LETTERS[name])}</mi>", False
        if name in _OPERATORS:
            return f"<mo>{_OPERATORS[name]}</mo>", False
        if name in _FENCES:
            return f'<mo stretchy="false">{_FENCES[name]}</mo>', False
        if name in _LARGE:
            return f'<mo movablelimits="true">{_LARGE[name]}</mo>', name != "int"
        if name in _WITH_LIMITS:
            return f'<mo movablelimits="true" lspace="0" rspace="0.17em">{name}</mo>', True
        if name in _FUNCTIONS:
            return f"<mi>{name}</mi>", False
        if name in _SPACES:
            return f'<mspace width="{_SPACES[name]}"/>', False
        if name in _SIZES:
            return self.fence(name), False
        if name in ("text", "textrm", "textit", "textbf", "mbox"):
            spaced = escape(self.words()).replace(" ", "\u00a0")  # MathML collapses ordinary spaces
            return f"<mtext>{spaced}</mtext>", False
        if name in ("mathrm", "operatorname", "mathit"):
            variant = ' mathvariant="normal"' if name == "mathrm" else ""
            return f"<mi{variant}>{escape(self.words().strip())}</mi>", False
        if name in _VARIANTS:
            return f'<mrow mathvariant="{_VARIANTS[name]}">{self.argument()}</mrow>', False
        if name in ("frac", "tfrac", "dfrac"):
            return f"<mfrac>{self.argument()}{self.argument()}</mfrac>", False
        if name == "binom":
            over = f'<mfrac linethickness="0">{self.argument()}{self.argument()}</mfrac>'
            return f"<mrow><mo>(</mo>{over}<mo>)</mo></mrow>", False
        if name == "sqrt":
            return f"<msqrt>{self.argument()}</msqrt>", False
        if name in _ACCENTS:
            return f'<mover accent="true">{self.argument()}<mo>{_ACCENTS[name]}</mo></mover>', False
        if name in ("underbrace", "overbrace"):
            below = name == "underbrace"
            element, mark = ("munder", "⏟") if below else ("mover", "⏞")
            return f"<{element}>{self.argument()}<mo>{mark}</mo></{element}>", True
        if name == "begin":
            return self.table(), False
        if name in ("displaystyle", "limits", "nolimits", "nonumber"):
            return "", False
        raise FormulaError(
            f"the formula {self.latex!r} has the unknown command {chr(92) + name!r}; write it with another command, or "
            "add it to recompviz/widgets/course/mathml.py"
        )

    def fence(self, size: str) -> str:
        token = self.next()
        if token is None:
            raise FormulaError(f"the formula {self.latex!r} ends after \\{size}")
        sign = _FENCES.get(token[1:], token[1:]) if token.startswith("\\") else token
        if sign == ".":
            return ""
        if size in ("left", "right", "middle"):
            return f'<mo stretchy="true">{escape(sign)}</mo>'
        large = "1.7em" if size.startswith(("Big", "bigg")) else "1.2em"
        return f'<mo stretchy="true" minsize="{large}" maxsize="{large}">{escape(sign)}</mo>'

    def table(self) -> str:
        """Read an environment to its end and return an ``mtable``."""
        name = self.words()
        if name not in ("aligned", "align*", "cases", "matrix", "pmatrix", "array"):
            raise FormulaError(f"the formula {self.latex!r} has the unknown environment {name!r}")
        rows: list[list[str]] = [[]]
        while True:
            rows[-1].append(self.row(("&", "\\\\", "\\end")))
            if self.ended_by == "\\\\":
                rows.append([])
            elif self.ended_by == "\\end":
                self.words()
                break
        cells = "".join(
            f"<mtr>{''.join(f'<mtd>{cell}</mtd>' for cell in row)}</mtr>" for row in rows if row != ["<mrow></mrow>"]
        )
        align = ' columnalign="right left"' if name.startswith("align") else ' columnalign="left"'
        table = f'<mtable{align} displaystyle="true">{cells}</mtable>'
        return f'<mrow><mo stretchy="true">{{</mo>{table}</mrow>' if name == "cases" else table


def _tight(script: str) -> str:
    """Return a script without the space that browsers put around an operator."""
    return script.replace("<mo>", '<mo lspace="0" rspace="0">', 1) if script.startswith("<mo>") else script


# a formula in Markdown: between two dollar signs or between one, but neither in code nor after a backslash
_FORMULA = re.compile(
    r"(?P<code>```.*?```|`[^`]*`)|(?<!\\)\$\$(?P<block>.+?)\$\$|(?<!\\)\$(?!\s)(?P<line>[^$\n]+?(?:\n[^$\n]+?)*?)(?<!\s)\$",
    re.DOTALL,
)


def formulas(markdown: str) -> Iterator[tuple[int, int, str, bool]]:
    """Find the formulas of a Markdown text.

    Yields
    ------
    tuple of (int, int, str, bool)
        The positions in the text at which the formula starts and ends, dollar signs included; the formula without
        dollar signs; and whether it is on its own line.

    Examples
    --------
    >>> list(formulas("a `$` and $x$"))
    [(10, 13, 'x', False)]
    """
    for found in _FORMULA.finditer(markdown):
        if found["code"] is None:
            latex = found["block"] if found["block"] is not None else found["line"]
            yield found.start(), found.end(), re.sub(r"\n\s*>", "\n", latex), found["block"] is not None
