"""A mail server at 127.0.0.1 or another address: smtp.py ADDRESS [CERTIFICATE KEY USER PASSWORD].

With a certificate it takes mail after STARTTLS and a login, without one from everybody in clear. Prints its
port, then a line of JSON for each mail.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

ADDRESS, *SECURE = sys.argv[1:]


class Mails:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "subject": message["subject"],
            "text": message.get_content(),
            "tls": session.ssl is not None,
            "login": session.authenticated,
        }
        print(json.dumps(mail), flush=True)
        return "250 OK"


def secured():
    certificate, key, user, password = SECURE
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    def authenticator(server, session, envelope, mechanism, data):
        expected = LoginPassword(user.encode(), password.encode())
        return AuthResult(success=data == expected, handled=False)

    return {
        "tls_context": context,
        "require_starttls": True,
        "auth_required": True,
        "authenticator": authenticator,
    }


async def main():
    settings = secured() if SECURE else {}
    make = lambda: SMTP(Mails(), hostname="mail.example.com", **settings)
    server = await asyncio.get_running_loop().create_server(make, ADDRESS, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
