// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"bytes"
	"testing"
)

// record frames a handshake fragment (RFC 5246 section 6.2.1).
func record(kind byte, fragment []byte) []byte {
	return append([]byte{kind, 3, 3, byte(len(fragment) >> 8), byte(len(fragment))}, fragment...)
}

// message frames a handshake message.
func message(kind byte, body []byte) []byte {
	return append([]byte{kind, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// list frames a certificate list.
func list(chain ...[]byte) []byte {
	var body []byte
	for _, der := range chain {
		body = append(append(body, 0, byte(len(der)>>8), byte(len(der))), der...)
	}
	return append([]byte{0, byte(len(body) >> 8), byte(len(body))}, body...)
}

func TestClearChain(t *testing.T) {
	hello, chain := message(2, make([]byte, 70)), message(messageCertificate, list([]byte("leaf"), []byte("intermediate")))
	flight := append(bytes.Clone(hello), chain...)
	split := append(record(recordHandshake, flight[:90]), record(recordHandshake, flight[90:])...)
	for name, c := range map[string]struct {
		stream    []byte
		want      int
		malformed bool
	}{
		"one record":         {record(recordHandshake, flight), 2, false},
		"split message":      {split, 2, false},
		"two records":        {append(record(recordHandshake, hello), record(recordHandshake, chain)...), 2, false},
		"cut":                {split[:len(split)-1], 0, false},
		"after ChangeCipher": {append(record(recordChangeCipherSpec, []byte{1}), split...), 0, false},
		"no certificate":     {record(recordHandshake, message(messageCertificate, list())), 0, false},
		"wrong length":       {record(recordHandshake, message(messageCertificate, []byte{0, 0, 9, 1})), 0, true},
		"empty certificate":  {record(recordHandshake, message(messageCertificate, list(nil))), 0, true},
		"nothing":            {nil, 0, false},
	} {
		got, _, err := clearChain(c.stream)
		if len(got) != c.want || (err != nil) != c.malformed {
			t.Errorf("%s: %d certificates, error %v", name, len(got), err)
		}
		if c.want == 2 && string(got[0])+string(got[1]) != "leafintermediate" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func FuzzClearChain(f *testing.F) {
	f.Add(record(recordHandshake, message(messageCertificate, list([]byte("leaf"), []byte("intermediate")))))
	f.Add(append(record(recordHandshake, message(2, make([]byte, 70))), record(recordHandshake, message(messageCertificate, list()))...))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		chain, found, err := clearChain(stream)
		if err != nil && (found || chain != nil) {
			t.Error("an error and a chain")
		}
		total := 0
		for _, der := range chain {
			total += len(der)
		}
		if total > len(stream) || len(chain) > chainLimit {
			t.Errorf("%d certificates of %d bytes out of %d", len(chain), total, len(stream))
		}
	})
}
