// A page with an account: sign up, sign in, sessions, and a token for a backend.

import { createAuthClient } from "better-auth/react";
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const baseURL = document.querySelector("meta[name=accounts]").content;
const auth = createAuthClient({ baseURL });

function Page() {
  const { data, isPending } = auth.useSession();
  return (
    <main>
      <h1>Notes</h1>
      {isPending ? <p>One moment …</p> : data ? <Account {...data} /> : <Visitor />}
    </main>
  );
}

function Visitor() {
  const [problem, setProblem] = useState("");
  const submit = (call) => async (event) => {
    event.preventDefault();
    const { error } = await call(Object.fromEntries(new FormData(event.target)));
    setProblem(error?.message ?? "");
  };
  return (
    <>
      {problem && <p role="alert">{problem}</p>}
      <form id="sign-in" onSubmit={submit(auth.signIn.email)}>
        <h2>Sign in</h2>
        <Field id="in-email" name="email" type="email" autoComplete="username">E-mail address</Field>
        <Field id="in-password" name="password" type="password" autoComplete="current-password">Password</Field>
        <button>Sign in</button>
      </form>
      <form id="sign-up" onSubmit={submit(auth.signUp.email)}>
        <h2>Sign up</h2>
        <Field id="up-name" name="name" autoComplete="name">Name</Field>
        <Field id="up-email" name="email" type="email" autoComplete="email">E-mail address</Field>
        <Field id="up-password" name="password" type="password" autoComplete="new-password">Password</Field>
        <button>Sign up</button>
      </form>
    </>
  );
}

function Field({ id, children, ...rest }) {
  return (
    <>
      <label htmlFor={id}>{children}</label>
      <input id={id} required {...rest} />
    </>
  );
}

function Account({ user, session }) {
  const [sessions, setSessions] = useState([]);
  const [token, setToken] = useState("");
  const refresh = async () => setSessions((await auth.listSessions()).data ?? []);
  useEffect(() => void refresh(), [session.id]);
  return (
    <>
      <p id="user">
        <strong>{user.name}</strong> {user.email}
      </p>
      <section>
        <h2>Sessions</h2>
        <ul id="sessions">
          {sessions.map(({ id, userAgent, createdAt }) => (
            <li key={id}>
              {id === session.id ? "This one" : userAgent}, since {createdAt.toLocaleString()}
            </li>
          ))}
        </ul>
        <button onClick={() => auth.revokeOtherSessions().then(refresh)}>End the others</button>
      </section>
      <section>
        <h2>For a backend</h2>
        <button id="get-token" onClick={async () => setToken((await auth.$fetch("/token")).data?.token ?? "none now")}>
          Get a token
        </button>
        <code id="token">{token}</code>
      </section>
      <button id="sign-out" onClick={() => auth.signOut()}>Sign out</button>
    </>
  );
}

createRoot(document.getElementById("root")).render(<Page />);
