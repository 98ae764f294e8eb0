// What a workload and an API written in JavaScript do, with the libraries that most of them use. NODE_EXTRA_CA_CERTS names the authority.
//
//   client.mjs token METHOD DIR                prints an access token, got with the files mounted at DIR
//   client.mjs verify DIR AUDIENCE [SECONDS]   verifies the token on standard input, by a clock that is SECONDS ahead, and prints its client
//   client.mjs introspect METHOD DIR [URL]     asks about the token on standard input, and prints its client or "inactive"
//   client.mjs revoke METHOD DIR               revokes the token on standard input

import {readFileSync} from 'node:fs'
import {join} from 'node:path'
import * as jose from 'jose'
import * as oauth from 'openid-client'

const authentication = {
  client_secret_basic: (file) => oauth.ClientSecretBasic(file('client-secret')),
  client_secret_post: (file) => oauth.ClientSecretPost(file('client-secret')),
  private_key_jwt: async (file) => oauth.PrivateKeyJwt(await jose.importPKCS8(file('private-key.pem'), 'ES256')),
  service_account: (file) => (_server, client, body) => {
    body.set('client_id', client.client_id)
    body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
    body.set('client_assertion', file('service-account-token'))
  },
}

async function discovered(method, file) {
  const credentials = await authentication[method](file)
  return oauth.discovery(new URL(file('issuer-uri')), file('client-id'), undefined, credentials)
}

async function token(method, file) {
  const config = await discovered(method, file)
  const answer = await oauth.clientCredentialsGrant(config, {scope: file('scope')})
  if (!(answer.expiresIn() > 0)) throw new Error(`expires in ${answer.expiresIn()}`)
  return answer.access_token
}

async function introspect(method, file, url) {
  let config = await discovered(method, file)
  if (url) {
    const metadata = {...config.serverMetadata(), introspection_endpoint: url}
    config = new oauth.Configuration(metadata, file('client-id'), undefined, await authentication[method](file))
  }
  const answer = await oauth.tokenIntrospection(config, readFileSync(0, 'utf8'))
  return answer.active ? answer.client_id : 'inactive'
}

async function revoke(method, file) {
  await oauth.tokenRevocation(await discovered(method, file), readFileSync(0, 'utf8'), {token_type_hint: 'access_token'})
  return 'revoked'
}

async function verify(file, audience, ahead = '0') {
  const keys = jose.createRemoteJWKSet(new URL(file('jwk-set-uri')))
  const {payload} = await jose.jwtVerify(readFileSync(0, 'utf8'), keys, {
    audience,
    issuer: file('issuer-uri'),
    typ: 'at+jwt',
    algorithms: ['RS256', 'ES256'],
    requiredClaims: ['exp', 'iat', 'sub', 'jti', 'client_id'],
    currentDate: new Date(Date.now() + 1000 * Number(ahead)),
  })
  return payload.client_id
}

const mountedAt = (folder) => (name) => readFileSync(join(folder, name), 'utf8')
const [command, ...rest] = process.argv.slice(2)
const commands = {
  token: (method, folder) => token(method, mountedAt(folder)),
  introspect: (method, folder, url) => introspect(method, mountedAt(folder), url),
  revoke: (method, folder) => revoke(method, mountedAt(folder)),
  verify: (folder, audience, ahead) => verify(mountedAt(folder), audience, ahead),
}
process.stdout.write(await commands[command](...rest))
