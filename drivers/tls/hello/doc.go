// SPDX-License-Identifier: Apache-2.0

// Package hello asks a TLS server questions without speaking TLS with it: it
// sends one ClientHello and reads the answer only as far as it tells something.
//
// A library such as crypto/tls finishes handshakes, offers only what it can
// carry out, and gives up at a certificate that it dislikes. An inventory wants
// the opposite: every version from SSL 3.0 to TLS 1.3, every cipher suite that
// has a number, and the bytes of every certificate, for as little work on both
// sides as can be. So an Offer says what this side pretends to be able to do,
// and an Answer is what the server said to it: its choice, its chain, whom it
// wants as a client, its OCSP staple, its signature, or the way it refused.
//
// TLS 1.2 and older tell all of that in clear (RFC 5246 section 7.3). TLS 1.3
// encrypts what follows the ServerHello, so there the handshake keys are derived
// (RFC 8446 section 7.1), with one key pair for each group and process: nothing
// that needs protection is ever sent or received. Nothing but a ClientHello, or a second one
// after a HelloRetryRequest (RFC 8446 section 4.1.4), is written.
//
// Servers are hostile input. One exchange reads at most ReadLimit bytes, and
// its caller bounds its time by the deadline of the connection.
package hello
