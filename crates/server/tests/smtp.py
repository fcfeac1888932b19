"""A mail server for tests, of Debian's python3-aiosmtpd: says its port, then each mail that it took as
one line of JSON, read by Python's own parser."""
import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


def say(value):
    print(json.dumps(value), flush=True)


class Handler:
    async def handle_DATA(self, server, session, envelope):
        if config["answer"] != "250":
            return config["answer"] + " not today"
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        say({
            "mail_from": envelope.mail_from,
            "rcpt_tos": envelope.rcpt_tos,
            "headers": [[name, str(value)] for name, value in mail.items()],
            "is_multipart": mail.is_multipart(),
            "content_type": mail.get_content_type(),
            "text": mail.get_content(),
            "tls": server.transport.get_extra_info("sslcontext") is not None,
            "login": session.auth_data and session.auth_data.login.decode(),
            "longest_line": max(len(line) for line in envelope.content.split(b"\r\n")),
        })
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    good = data.login.decode() == config["user"] and data.password.decode() == config["password"]
    return AuthResult(success=good, handled=False, auth_data=data)


config = json.loads(sys.argv[1])
context = None
if config["tls"] != "none":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config["certificate"], config["key"])


def serve():
    options = {"hostname": "mail.test", "enable_SMTPUTF8": False}
    if config["user"]:
        options.update(authenticator=authenticate, auth_required=True)
        options["auth_require_tls"] = config["tls"] == "starttls"
    if config["tls"] == "starttls":
        options.update(tls_context=context, require_starttls=True)
    return SMTP(Handler(), **options)


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(serve, "127.0.0.1", 0, ssl=context if config["tls"] == "tls" else None)
    say({"port": server.sockets[0].getsockname()[1]})
    await server.serve_forever()


asyncio.run(main())
