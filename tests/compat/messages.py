"""Writes what a release's messages are made of, for today's code to read: each message with every field set, and
each method. Once a release, with its own proto files, and grpcio-tools of tests/interop/requirements.txt:

    python -m grpc_tools.protoc -Iproto --python_out=FOLDER proto/hsmd/v1/*.proto
    PYTHONPATH=FOLDER python tests/compat/messages.py >tests/compat/RELEASE/messages.json
"""

import json

from google.protobuf import duration_pb2
from google.protobuf.descriptor import FieldDescriptor as Field
from hsmd.v1 import admin_pb2, keylog_pb2, signer_pb2

FILES = [signer_pb2, keylog_pb2, admin_pb2]
SCALARS = {
    Field.TYPE_STRING: lambda field: field.name,
    Field.TYPE_BYTES: lambda field: field.name.encode(),
    Field.TYPE_BOOL: lambda field: True,
    # A number of more than one byte that names its field.
    Field.TYPE_UINT32: lambda field: 1000 + field.number,
    Field.TYPE_UINT64: lambda field: 1000 + field.number,
    Field.TYPE_ENUM: lambda field: field.enum_type.values[-1].number,
}


def literal(field, value):
    """The field as Rust prints it."""
    text = {str: lambda v: json.dumps(v), bytes: lambda v: 'b"%s"' % v.decode(), bool: lambda v: str(v).lower()}.get(type(value), str)(value)
    if field.type == Field.TYPE_ENUM:
        return None
    if field.is_repeated:
        return f"{field.name}: [{text}]"
    return f"{field.name}: Some({text})" if field.has_presence else f"{field.name}: {text}"


def fill(message, choice=None):
    """Sets every field, of a oneof the chosen one; returns their literals."""
    literals = []
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof and len(field.containing_oneof.fields) > 1 and field.name != choice:
            continue
        if field.type == Field.TYPE_MESSAGE:
            part = getattr(message, field.name)
            part = part.add() if field.is_repeated else part
            if isinstance(part, duration_pb2.Duration):
                part.seconds, part.nanos = 3, 4
                literals.append(f"{field.name}: Some(Duration {{ seconds: 3, nanos: 4 }})")
            else:
                literals += fill(part)
            continue
        value = SCALARS[field.type](field)
        literals.append(literal(field, value))
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)
    return [text for text in literals if text]


def main():
    messages, methods = [], []
    for file in FILES:
        for name, descriptor in file.DESCRIPTOR.message_types_by_name.items():
            choices = [f.name for oneof in descriptor.oneofs for f in oneof.fields if len(oneof.fields) > 1]
            for choice in choices or [None]:
                message = getattr(file, name)()
                literals = fill(message, choice)
                encoded = message.SerializeToString(deterministic=True).hex()
                messages.append({"name": name, "bytes": encoded, "fields": literals})
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                types = [method.input_type.name, method.output_type.name]
                methods.append([service.name, method.name, *types, method.server_streaming])
    print(json.dumps({"messages": messages, "methods": methods}, indent=1))


main()
