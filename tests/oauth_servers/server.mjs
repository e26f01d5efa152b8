// A certified OAuth 2.0 server with two clients, for tests/oauth_servers: node server.mjs PORT.

import { generateKeyPairSync } from "node:crypto";
import Provider, { errors } from "oidc-provider";

const port = process.argv[2];
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });

const client = (method) => ({
  client_id: method,
  // What has to be encoded, in a form and in a header.
  client_secret: `s3cret of ${method}: 50 % & more+`,
  token_endpoint_auth_method: method,
  grant_types: ["client_credentials"],
  redirect_uris: [],
  response_types: [],
  scope: "api:read api:write",
});

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [client("client_secret_basic"), client("client_secret_post")],
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), use: "sig" }] },
  // The last one is granted to no client.
  scopes: ["api:read", "api:write", "api:admin"],
  ttl: { ClientCredentials: 600 },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      getResourceServerInfo: (_, resource) => {
        if (resource !== "https://api.example.com") {
          throw new errors.InvalidTarget();
        }
        return {
          scope: "api:read api:write api:admin",
          accessTokenTTL: 3600,
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: "RS256" } },
        };
      },
    },
  },
});

provider.listen(port, "127.0.0.1");
