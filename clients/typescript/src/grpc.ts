// A gRPC channel to hsmd: a Unix socket, or TLS with a client certificate. Node only.

import { readFileSync } from "node:fs";
import { create, fromBinary, toBinary, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { Client, credentials, type ChannelOptions, type ClientReadableStream, type ServiceError } from "@grpc/grpc-js";
import { WatchEventsRequestSchema, WatchEventsResponseSchema } from "./_proto/hsmd/v1/keylog_pb.js";
import { EndorseRequestSchema, EndorseResponseSchema } from "./_proto/hsmd/v1/signer_pb.js";
import { Unavailable } from "./errors.js";
import type { EndorsementSource, LogSource, Message } from "./source.js";
import { fromBytes } from "./text.js";

const DEADLINE = 10_000;

export interface Tls {
  caFile: string;
  certificateFile: string;
  keyFile: string;
  /** The name in hsmd's certificate, if it is not the host's. */
  serverName?: string;
}

/** `unix:///path`, or `https://host:port` with the files of mutual TLS, which are read again when they change. */
export function connect(endpoint: string, tls?: Tls): Channel {
  if (endpoint.startsWith("unix:")) return new Channel(endpoint, null);
  if (!endpoint.startsWith("https://")) throw new TypeError(`endpoint ${endpoint} is neither unix:… nor https://…`);
  if (!tls) throw new TypeError("an https endpoint takes caFile, certificateFile and keyFile");
  return new Channel(endpoint.slice("https://".length), tls);
}

/** One connection, and how many calls use it. */
interface Connection {
  client: Client;
  files: string;
  calls: number;
}

export class Channel implements LogSource, EndorsementSource {
  #connection: Connection | null = null;

  constructor(readonly address: string, private readonly tls: Tls | null) {}

  close(): void {
    this.#connection?.client.close();
    this.#connection = null;
  }

  async *watch(from: number, signal: AbortSignal): AsyncIterable<Message> {
    const connection = this.#connect();
    const request = create(WatchEventsRequestSchema, { fromSequence: from });
    const call: ClientReadableStream<MessageShape<typeof WatchEventsResponseSchema>> =
      connection.client.makeServerStreamRequest(
        "/hsmd.v1.KeyLog/WatchEvents", encoder(WatchEventsRequestSchema), decoder(WatchEventsResponseSchema), request,
      );
    const cancel = () => call.cancel();
    signal.addEventListener("abort", cancel);
    try {
      for await (const { message } of call as AsyncIterable<MessageShape<typeof WatchEventsResponseSchema>>) {
        if (message.case === "event") {
          yield { event: { text: message.value.text, signature: message.value.signature } };
        } else if (message.case === "heartbeat") {
          const { headId: id, headSequenceNumber: sequenceNumber } = message.value;
          yield { head: { id, sequenceNumber }, authenticated: true };
        }
      }
    } catch (error) {
      throw said(error as ServiceError);
    } finally {
      signal.removeEventListener("abort", cancel);
      call.cancel();
      this.#release(connection);
    }
  }

  async endorse(purpose: string, publicKey: string, ttl: number): Promise<string> {
    const milliseconds = Math.floor(ttl);
    const duration = create(DurationSchema, {
      seconds: BigInt(Math.floor(milliseconds / 1000)), nanos: (milliseconds % 1000) * 1_000_000,
    });
    const request = create(EndorseRequestSchema, { purpose, publicKey, ttl: duration });
    const connection = this.#connect();
    try {
      const reply = await new Promise<MessageShape<typeof EndorseResponseSchema>>((resolve, reject) => {
        const options = { deadline: Date.now() + DEADLINE };
        connection.client.makeUnaryRequest(
          "/hsmd.v1.Signer/Endorse", encoder(EndorseRequestSchema), decoder(EndorseResponseSchema), request, options,
          (error, value) => (value ? resolve(value) : reject(said(error as ServiceError))),
        );
      });
      const signed = reply.endorsement;
      if (!signed) throw new Unavailable("Endorse answered without an endorsement");
      return `{"body":${fromBytes(signed.body)},"signature":"${signed.signature}"}`;
    } finally {
      this.#release(connection);
    }
  }

  /** The connection; a new one when the TLS files are others than those it was made with. */
  #connect(): Connection {
    const { tls } = this;
    const [ca, key, certificate] = tls ? [tls.caFile, tls.keyFile, tls.certificateFile].map((file) => readFileSync(file)) : [];
    const files = [ca, key, certificate].map((file) => file?.toString("base64")).join("\n");
    let connection = this.#connection;
    if (connection?.files !== files) {
      const replaced = connection;
      const secure = ca && key && certificate
        ? credentials.createSsl(ca, key, certificate) : credentials.createInsecure();
      connection = { client: new Client(this.address, secure, this.#options()), files, calls: 0 };
      this.#connection = connection;
      if (replaced?.calls === 0) replaced.client.close();
    }
    connection.calls += 1;
    return connection;
  }

  #release(connection: Connection): void {
    connection.calls -= 1;
    if (connection !== this.#connection && connection.calls === 0) connection.client.close();
  }

  #options(): ChannelOptions {
    const options: ChannelOptions = { "grpc.max_receive_message_length": 4 << 20, "grpc.enable_retries": 0 };
    // Over a Unix socket the socket's path would be sent as authority, which HTTP/2 in Rust refuses.
    if (!this.tls) options["grpc.default_authority"] = "localhost";
    if (this.tls?.serverName) {
      options["grpc.ssl_target_name_override"] = this.tls.serverName;
      options["grpc.default_authority"] = this.tls.serverName;
    }
    return options;
  }
}

function encoder<D extends DescMessage>(schema: D): (message: MessageShape<D>) => Buffer {
  return (message) => Buffer.from(toBinary(schema, message));
}

function decoder<D extends DescMessage>(schema: D): (bytes: Buffer) => MessageShape<D> {
  return (bytes) => fromBinary(schema, bytes);
}

function said(error: ServiceError): Unavailable {
  return new Unavailable(error.details || error.message, { cause: error });
}
