"""Writes the methods, properties and attributes of a facade's class."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .annotations import Compound, Facaded, Plain, Reader, Scope, Type
from .conversions import ITEMS, PLACE, Argument, Translator, names_of
from .deprecations import DEPRECATION, Function, decorators_of, deprecations_of
from .docstrings import docstring, synchronous
from .imports import Imports
from .known_types import LOOP_BOUND
from .members import Kind, Member, class_variable, final, yields
from .source import Refusal, dotted

HIDE = "finally:  # error reporters print the local variables of frames"
SIMPLE_DEFAULTS = (
    *(ast.Constant, ast.Name, ast.Attribute, ast.UnaryOp, ast.unaryop, ast.BinOp, ast.operator, ast.Tuple),
    ast.expr_context,
)


@dataclass
class Signature:
    """The parameters of a method in the facade.

    Attributes:
        declared: as in `def`, the first one included.
        passed: the arguments of the call behind.
        secrets: names of those that hold secrets.
        dropped: names of those that the facade does not have.
        changed: descriptions of those that take less than in the source, by name.
        names: that the expressions in `passed` use, beside the parameters'.
    """

    declared: list[str] = field(default_factory=list[str])
    passed: list[str] = field(default_factory=list[str])
    secrets: list[str] = field(default_factory=list[str])
    dropped: list[str] = field(default_factory=list[str])
    changed: dict[str, str] = field(default_factory=dict[str, str])
    names: set[str] = field(default_factory=set[str])


@dataclass
class ClassWriter:
    """Writes the members of one class.

    Attributes:
        name: of the class, here and in the source.
        reader: reads its annotations.
        imports: of the file.
        scope: what its annotations may refer to.
        descriptions: of parameters that take less than in the source, by name.
        made: whether users make the objects.
    """

    name: str
    reader: Reader
    imports: Imports
    scope: Scope
    descriptions: Mapping[str, str]
    made: bool = True

    def member(self, one: Member) -> str:
        """The source of a member."""
        if one.kind is Kind.CLASS_ATTRIBUTE:
            return self._class_attribute(one)
        if one.kind is Kind.ATTRIBUTE:
            return self._attribute(one)
        if one.kind is Kind.PROPERTY:
            return self._property(one)
        return self._method(one)

    def _attribute(self, one: Member) -> str:
        """A declared attribute: a property. Those of classes that users make can be set; results are read."""
        assert isinstance(one.node, ast.AnnAssign)
        constant = final(one.node.annotation)
        written = dotted(one.node.annotation) or ""
        if written.rpartition(".")[2] in ("Final", "ClassVar"):
            raise Refusal(one.module, one.node, f"attribute `{one.name}` without a type")
        annotation = constant or one.node.annotation
        kind = self.reader.read(annotation, one.module, self.scope)
        doc = f'        """{synchronous(one.description)}"""\n' if one.description else ""
        text = self._getter(one.name, kind, doc)
        if self.made and constant is None and not one.frozen:
            arguments = ast.arguments([], [ast.arg("self"), ast.arg("value", annotation)], None, [], [], None, [])
            setter = ast.copy_location(ast.FunctionDef(one.name, arguments, [], []), one.node)
            ast.fix_missing_locations(setter)  # messages name the line
            text += self._setter(setter, one)
        return text

    def _setter(self, node: Function, one: Member) -> str:
        signature = self.signature(node, one)
        if len(signature.passed) != 1:
            raise Refusal(one.module, node, f"`{one.name}`: a setter with {len(signature.passed)} parameters")
        self._check_names(node, one, signature, ["self"])
        lines = self._hiding([f"self._async.{one.name} = {signature.passed[0]}"], signature)
        return f"\n    @{one.name}.setter\n" + self._def(one.name, signature, "None", "", lines)

    def _class_attribute(self, one: Member) -> str:
        assert isinstance(one.node, ast.AnnAssign)
        annotation = class_variable(one.node.annotation)
        assert annotation is not None
        kind = self.reader.read(annotation, one.module, self.scope)
        translator = Translator(self.imports, "")
        if not isinstance(kind, Plain):
            raise Refusal(one.module, one.node, f"class attribute `{one.name}` of type `{ast.unparse(kind.node)}`")
        translator.result(kind, one.name)
        class_var = self.imports.need("typing", "ClassVar")
        return f"    {one.name}: {class_var}[{translator.text(kind)}] = Async{self.name}.{one.name}\n"

    def _getter(self, name: str, kind: Type, doc: str, deprecations: Sequence[ast.Call] = ()) -> str:
        translator = Translator(self.imports, "self._view")
        returns, lines = self._returning(kind, f"self._async.{name}", translator)
        if deprecations:
            lines = [f"with {self.imports.need(DEPRECATION, 'already_warned')}():", *(f"    {line}" for line in lines)]
        body = "".join(f"        {line}\n" for line in lines)
        return (
            f"    @property\n{decorators_of(deprecations, self.imports)}    def {name}(self) -> {returns}:\n{doc}{body}"
        )

    def _property(self, one: Member) -> str:
        node = one.function
        if node.returns is None:
            raise Refusal(one.module, node, f"`{one.name}` has no return annotation")
        kind = self.reader.read(node.returns, one.module, self._scope(node, one))
        text = self._getter(one.name, kind, docstring(node, "        "), one.deprecations)
        if one.setter is not None:
            text += self._setter(one.setter, one)
        if one.deleter is not None:
            head = f"\n    @{one.name}.deleter\n    def {one.name}(self) -> None:\n"
            text += f"{head}        del self._async.{one.name}\n"
        return text

    def _method(self, one: Member) -> str:
        text = "".join(self._overload(node, one) for node in one.overloads)
        signature = self.signature(one.function, one)
        returns, lines = self._body(one, signature)
        bare = self._body(one, Signature())[1]
        self._check_names(one.function, one, signature, [*bare, "cast"] if one.overloads else bare)
        if one.overloads and returns != "None":  # to type checkers, the result depends on the arguments
            lines[-1] = (
                f"return {self.imports.need('typing', 'cast')}({returns!r}, {lines[-1].removeprefix('return ')})"
            )
        doc = docstring(one.function, "        ", without=signature.dropped, changed=signature.changed)
        decorator = f"    @{one.kind.value}\n" if one.kind in (Kind.STATIC, Kind.CLASS) else ""
        decorator += decorators_of(one.deprecations, self.imports)
        return text + decorator + self._def(one.new_name, signature, returns, doc, self._hiding(lines, signature))

    def _check_names(self, node: Function, one: Member, signature: Signature, lines: list[str]) -> None:
        """Refuse a parameter with a name that the generated body uses for something else.

        Args:
            node: the function.
            one: the member that it belongs to.
            signature: its parameters here.
            lines: the body as it would be without parameters.
        """
        args = node.args
        given = [*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg]
        used = signature.names | names_of(lines)
        if one.kind is not Kind.STATIC:
            used.add(signature.declared[0])
            given = given[1:]
        for arg in given:
            if arg is not None and arg.arg in used:
                raise Refusal(one.module, arg, f"`{one.name}`: the facade uses the name `{arg.arg}` itself")

    def _overload(self, node: Function, one: Member) -> str:
        """A signature declared with `@overload`: it must be made of what the implementation's says."""
        waits = isinstance(one.function, ast.AsyncFunctionDef) and not yields(one.function)
        if isinstance(node, ast.AsyncFunctionDef) is not waits:
            raise Refusal(one.module, node, f"`{one.name}`: only one of overload and implementation is a coroutine")
        declared, said = self._result_type(node, one), self._result_type(one.function, one)
        allowed = {part.name for part in said.walk() if isinstance(part, Facaded)}
        wanted = {part.name for part in declared.walk() if isinstance(part, Facaded)}
        if not wanted <= allowed:
            what = f"`{one.name}`: the implementation's return type does not name {', '.join(sorted(wanted - allowed))}"
            raise Refusal(one.module, node, what)
        signature = self.signature(node, one)
        returns, _ = self._body(one, signature, node)
        self._check_names(node, one, signature, [])
        decorator = f"    @{one.kind.value}\n" if one.kind in (Kind.STATIC, Kind.CLASS) else ""
        overload = f"    @{self.imports.need('typing', 'overload')}\n"
        decorator += decorators_of(deprecations_of(self.reader.source, node, one.module), self.imports)
        return overload + decorator + self._def(one.new_name, signature, returns, "", ["..."]) + "\n"

    def _result_type(self, node: Function, one: Member) -> Type:
        if node.returns is None:
            raise Refusal(one.module, node, f"`{one.name}` has no return annotation")
        return self.reader.read(node.returns, one.module, self._scope(node, one))

    def _body(self, one: Member, signature: Signature, declared: Function | None = None) -> tuple[str, list[str]]:
        """The return type and the statements of a method."""
        node = one.function if declared is None else declared
        kind = self._result_type(node, one)
        owner = "self._async" if one.kind not in (Kind.STATIC, Kind.CLASS) else f"Async{self.name}"
        target, translator = f"{owner}.{one.name}", Translator(self.imports, self._wrap(one))
        if one.overloads:
            function = f"{self.imports.need('collections.abc', 'Callable')}[..., {self.imports.need('typing', 'Any')}]"
            target = f"{self.imports.need('typing', 'cast')}({function!r}, {target})"
        if one.deprecations:  # the facade has warned
            target = f"{self.imports.need(DEPRECATION, 'undeprecated')}({target})"
        called = f"{target}({', '.join(signature.passed)})"
        waits = isinstance(node, ast.AsyncFunctionDef)
        if one.kind is Kind.ASYNC_MANAGER:
            return self._manager(self._items(kind, one), called, translator)
        if one.kind is Kind.MANAGER:
            return self._plain_manager(kind, one, called)
        if waits and yields(one.function):
            self._items(kind, one)
            return self._iterator(kind, called, translator)
        if isinstance(kind, Compound) and kind.head == "awaitable" and not waits:
            kind, waits = kind.arguments[0], True
        if waits:
            called = f"{self.imports.need('.portal', 'run')}({', '.join([target, *signature.passed])})"
        if isinstance(kind, Compound) and kind.head in ITEMS:
            return self._iterator(kind, called, translator)
        if isinstance(kind, Compound) and kind.head == "manager":
            return self._manager(kind.arguments[0], called, translator)
        return self._returning(kind, called, translator)

    def _wrap(self, one: Member) -> str:
        """How a member makes a facade of its own class."""
        return {Kind.CLASS: "cls._wrap", Kind.STATIC: f"{self.name}._wrap"}.get(one.kind, "self._view")

    def _items(self, kind: Type, one: Member) -> Type:
        if not isinstance(kind, Compound) or kind.head not in ITEMS:
            what = f"`{one.name}`: an async generator that returns `{ast.unparse(kind.node)}`"
            raise Refusal(one.module, kind.node, what)
        return kind.arguments[0]

    def _iterator(self, kind: Type, called: str, translator: Translator) -> tuple[str, list[str]]:
        assert isinstance(kind, Compound)
        make, item = translator.make(kind.arguments[0]), translator.text(kind.arguments[0])
        if make:
            line = f"return {self.imports.need('.portal', 'iterate_as')}({make}, {called})"
        else:
            line = f"return {self.imports.need('.portal', 'iterate')}({called})"
        if kind.head == "AsyncGenerator":
            return f"{self.imports.need('collections.abc', 'Generator')}[{item}, None, None]", [line]
        return f"{self.imports.need('collections.abc', 'Iterator')}[{item}]", [line]

    def _manager(self, item: Type, called: str, translator: Translator) -> tuple[str, list[str]]:
        make = translator.make(item)
        manager = self.imports.need("contextlib", "AbstractContextManager")
        passed = f"{called}, {make}" if make else called
        line = f"return {self.imports.need('.context_managers', 'manage')}({passed})"
        return f"{manager}[{translator.text(item)}]", [line]

    def _plain_manager(self, kind: Type, one: Member, called: str) -> tuple[str, list[str]]:
        node = kind.node
        if not isinstance(kind, Plain) or kind.leak or not isinstance(node, ast.Subscript):
            raise Refusal(one.module, kind.node, f"`{one.name}`: a context manager of `{ast.unparse(kind.node)}`")
        item = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice
        manager = self.imports.need("contextlib", "AbstractContextManager")
        return f"{manager}[{self.imports.annotation(item, kind.module)}]", [f"return {called}"]

    def _returning(self, kind: Type, value: str, translator: Translator) -> tuple[str, list[str]]:
        """Return a value, converted where its type asks for it."""
        if isinstance(kind, Compound) and kind.head in ITEMS:
            return self._iterator(kind, value, translator)
        converted = translator.result(kind, "result")  # refuses what must not be returned
        text = translator.text(kind)
        if text == "None":
            return text, [value]
        if translator.repeats(kind) and converted != "result":
            return text, [f"result = {value}", f"return {converted}"]
        return text, [f"return {translator.result(kind, value)}"]

    def signature(self, node: Function, one: Member) -> Signature:
        """The parameters of a method, and how they are passed on."""
        found, scope = Signature(), self._scope(node, one)
        args = node.args
        places = [*args.posonlyargs, *args.args]
        defaults = [None] * (len(places) - len(args.defaults)) + list(args.defaults)
        pairs = list(zip(places, defaults, strict=True))
        if one.kind is not Kind.STATIC:
            if not pairs:
                raise Refusal(one.module, node, f"`{one.name}` has no `self`")
            found.declared.append("cls" if one.kind is Kind.CLASS else "self")
            pairs = pairs[1:]
        self._positional(found, pairs, node, one, scope)
        if args.vararg is not None:
            self._parameter(found, args.vararg, None, one, scope, star="*")
        elif args.kwonlyargs:
            found.declared.append("*")
        for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
            self._parameter(found, arg, default, one, scope, keyword=True)
        if args.kwarg is not None:
            self._parameter(found, args.kwarg, None, one, scope, star="**")
        if found.declared[-1:] == ["*"]:  # all parameters after it were dropped
            found.declared.pop()
        return found

    def _positional(
        self, found: Signature, pairs: list[tuple[ast.arg, ast.expr | None]], node: Function, one: Member, scope: Scope
    ) -> None:
        """The parameters that may be given by position; the first one may be for `self`, and is not among them."""
        args = node.args
        only = len(pairs) - len(args.args)
        if args.posonlyargs and only == 0:
            found.declared.append("/")
        for index, (arg, default) in enumerate(pairs):
            self._parameter(found, arg, default, one, scope, keyword=bool(found.dropped))
            if found.dropped and (index < only or args.vararg is not None):
                raise Refusal(one.module, arg, f"`{one.name}`: a positional parameter that the facade can't offer")
            if index + 1 == only:
                found.declared.append("/")

    def _parameter(
        self,
        found: Signature,
        arg: ast.arg,
        default: ast.expr | None,
        one: Member,
        scope: Scope,
        *,
        star: str = "",
        keyword: bool = False,
    ) -> None:
        if arg.annotation is None:
            raise Refusal(one.module, arg, f"`{one.name}`: parameter `{arg.arg}` has no annotation")
        if star == "**":
            self._check_fields(arg.annotation, one)
        value = "item" if star else arg.arg
        translator = Translator(self.imports, self._wrap(one))
        kind = self.reader.read(arg.annotation, one.module, scope)
        self._check_given(kind, arg, one)
        argument = translator.argument(kind, value)
        if argument.narrowed and self._drops(argument, arg, default, one):
            found.dropped.append(arg.arg)
            return
        written = f"{star}{arg.arg}: {argument.text}"
        found.declared.append(written if default is None else f"{written} = {self._default(default, one)}")
        found.passed.append(self._passed(argument, arg.arg, star, keyword=keyword))
        bare = translator.argument(kind, "item" if star else PLACE)
        found.names |= names_of([self._passed(bare, PLACE, star, keyword=False).lstrip("*")])
        if argument.narrowed:
            found.changed[arg.arg] = self.descriptions[arg.arg]
        if self.reader.leaks.is_secret(arg.annotation, one.module):
            found.secrets.append(arg.arg)

    def _check_fields(self, annotation: ast.expr, one: Member) -> None:
        """Refuse `**kwargs: Unpack[...]` of a `TypedDict` with fields that the facade can't offer."""
        found = next((part for part in self.reader.leaks.mentioned(annotation, one.module) if part in LOOP_BOUND), None)
        if found is not None:
            what = f"`{one.name}`: `{ast.unparse(annotation)}` has fields of type `{found.module}.{found.name}`"
            raise Refusal(one.module, annotation, what)

    def _check_given(self, kind: Type, arg: ast.arg, one: Member) -> None:
        """Refuse a parameter with a part that is passed on as it is, and that only asynchronous code can make."""
        for part in kind.walk():
            leak = self.reader.leaks.in_argument(part.node, part.module) if isinstance(part, Plain) else ""
            if leak:
                what = f"`{one.name}`: parameter `{arg.arg}` takes what is asynchronous: {leak}"
                raise Refusal(one.module, arg, what)

    def _drops(self, argument: Argument, arg: ast.arg, default: ast.expr | None, one: Member) -> bool:
        """Whether a parameter with a type that the facade can't offer in full has to go."""
        what = f"`{one.name}`: parameter `{arg.arg}` takes `{argument.narrowed}`, which is asynchronous"
        if argument.text:
            if arg.arg not in self.descriptions:
                raise Refusal(one.module, arg, f"{what}; the facade takes only the rest, and has no description of it")
            return False
        if default is None:
            raise Refusal(one.module, arg, what)
        return True

    @staticmethod
    def _passed(argument: Argument, name: str, star: str, *, keyword: bool) -> str:
        if star == "*":
            return f"*{name}" if argument.value == "item" else f"*[{argument.value} for item in {name}]"
        if star == "**":
            if argument.value == "item":
                return f"**{name}"
            return f"**{{key: {argument.value} for key, item in {name}.items()}}"
        return f"{name}={argument.value}" if keyword else argument.value

    def _default(self, node: ast.expr, one: Member) -> str:
        strange = next((part for part in ast.walk(node) if not isinstance(part, SIMPLE_DEFAULTS)), None)
        if strange is not None:
            raise Refusal(one.module, node, f"`{one.name}`: default `{ast.unparse(node)}`")
        return self.imports.expression(node, one.module)

    def _scope(self, node: Function, one: Member) -> Scope:
        """The scope of a method: what annotates its `self` stands for the class."""
        places = [*node.args.posonlyargs, *node.args.args]
        if one.kind is Kind.STATIC or not places or places[0].annotation is None:
            return self.scope
        annotation = places[0].annotation
        inner = annotation.slice if one.kind is Kind.CLASS and isinstance(annotation, ast.Subscript) else annotation
        name = dotted(inner)
        names = frozenset() if name is None else frozenset({name})
        return Scope(self.scope.own, names, self.scope.type_variables)

    @staticmethod
    def _hiding(lines: list[str], signature: Signature) -> list[str]:
        """Statements after which their frame holds no secret."""
        if not signature.secrets:
            return lines
        return ["try:", *(f"    {line}" for line in lines), HIDE, f"    del {', '.join(signature.secrets)}"]

    @staticmethod
    def _def(name: str, signature: Signature, returns: str, doc: str, lines: list[str]) -> str:
        body = "".join(f"        {line}\n" for line in lines)
        return f"    def {name}({', '.join(signature.declared)}) -> {returns}:\n{doc}{body}"

    def constructor(self, one: Member) -> tuple[str, Signature]:
        """`__init__`, which makes the object behind the facade."""
        signature = self.signature(one.function, one)
        self._check_names(one.function, one, signature, [f"self._async = Async{self.name}()"])
        made = f"self._async = Async{self.name}({', '.join(signature.passed)})"
        doc = docstring(one.function, "        ", without=signature.dropped, changed=signature.changed)
        return self._def("__init__", signature, "None", doc, self._hiding([made], signature)), signature
