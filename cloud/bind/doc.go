// Package bind is how a camera comes to belong to somebody: pairing by the label
// (both sides of it), and the roster of members that results. The camera's side
// keeps epoch, bind id, roster and the count of failed pairings in one durable
// file, so that a power cut leaves it bound or unbound and never between.
//
// Only the label (code) and an open window make an owner; nothing that a cloud
// or a broker says does. A bound camera refuses every pairing.
//
// # Messages
//
// The first byte is the type, then an id of 8 random bytes that the app chooses
// for each handshake. Numbers are big-endian.
//
//	0x01 id noise1                 app → camera, 48 bytes of Noise
//	0x02 id noise2                 camera → app, 96
//	0x03 id noise3                 app → camera, 64
//	0x04 id counter(8) ciphertext  inside; the first 17 bytes are associated data, the counter the nonce
//	0x0e id code                   camera → app: no. Not authenticated: a hint
//
// The handshake is Noise_XXpsk3_25519_ChaChaPoly_BLAKE2s with empty payloads;
// prologue: "iid2/pair/1", serial, client id, each after its length in 2 bytes;
// psk: HKDF-SHA256 of the code with the serial as salt and "iid2 pairing" as info,
// 32 bytes. The app's static key in it is thrown away. An app that scanned a QR
// compares the camera's key with its fingerprint before it writes message 3.
//
// Inside there are three messages, JSON, at fixed counters of their direction:
//
//	camera 0  ready    {v, epoch, bind_id, chain}
//	app 0     own      {v, name, noise, recipient, claim}
//	camera 1  receipt  {v, receipt}, or {v, error}
//
// Whatever gets lost is sent again byte for byte, and answered byte for byte.
//
// Codes of "no": 1 bound already, 2 window closed, 3 too many at once, 4 message
// 3 does not verify (wrong code), 5 this handshake is not known (any more). At most
// one a second goes to a client.
//
// At most 4 handshakes are pending, for 15 s each; the oldest that has not shown
// the code gives way. Each message 3 on a live handshake counts as a failure,
// durable, before it is checked, and is taken back if it verifies: 10 close the
// window until the button is pressed, restarts or not.
package bind
