// SPDX-License-Identifier: Apache-2.0

package hello

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"
)

// A tape is a server that says the same whatever it is told.
type tape struct{ io.Reader }

func (tape) Write(p []byte) (int, error) { return len(p), nil }

func record(kind byte, fragment ...byte) []byte {
	return append([]byte{kind, 3, 3, byte(len(fragment) >> 8), byte(len(fragment))}, fragment...)
}

func message(kind byte, body ...byte) []byte {
	return append([]byte{kind, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// flight is a whole answer of TLS 1.2: hello, chain, staple, request, done.
func flight() []byte {
	body := append([]byte{3, 3}, make([]byte, randomLength)...)
	body = append(body, 0, 0x00, 0x9c, 0, 0, 9, 0, 16, 0, 5, 0, 3, 2, 'h', '2')
	request := []byte{1, 1, 0, 2, 4, 1, 0, 6, 0, 4, 'n', 'a', 'm', 'e'}
	return slices.Concat(
		message(messageServerHello, body...),
		message(messageCertificate, list([]byte("leaf"), []byte("intermediate"))...),
		message(messageCertificateStatus, 1, 0, 0, 3, 'y', 'e', 's'),
		message(messageCertificateRequest, request...),
		message(messageServerHelloDone),
	)
}

// list frames the body of a Certificate message of TLS 1.2.
func list(chain ...[]byte) []byte {
	var body []byte
	for _, der := range chain {
		body = append(append(body, 0, byte(len(der)>>8), byte(len(der))), der...)
	}
	return append([]byte{byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// fragments puts a flight into records of n bytes.
func fragments(flight []byte, n int) []byte {
	var stream []byte
	for part := range slices.Chunk(flight, n) {
		stream = append(stream, record(recordHandshake, part...)...)
	}
	return stream
}

func playBack(stream []byte) Answer {
	offer := &Offer{Versions: []Version{TLS13, TLS12}, Suites: SuitesOf(TLS12), Groups: Groups(), Schemes: Schemes(), Read: ReadProof}
	return NewProber().Ask(tape{bytes.NewReader(stream)}, offer)
}

func TestFragments(t *testing.T) {
	warning := record(recordAlert, 1, 112)
	for n := range len(flight()) {
		a := playBack(append(bytes.Clone(warning), fragments(flight(), n+1)...))
		if a.Err != nil || len(a.Chain) != 2 || string(a.Chain[0]) != "leaf" || string(a.Chain[1]) != "intermediate" || a.ALPN != "h2" ||
			!a.ClientAuth || len(a.Issuers) != 1 || string(a.Issuers[0]) != "name" || string(a.Staple) != "yes" || a.Suite != 0x009c {
			t.Fatalf("in records of %d bytes: %+v", n+1, a)
		}
	}
}

// TestCut ends the answer after each byte: what was told is kept.
func TestCut(t *testing.T) {
	whole := fragments(flight(), 50)
	for n := range len(whole) {
		a := playBack(whole[:n])
		if !errors.Is(a.Err, ErrClosed) && !(errors.Is(a.Err, ErrNotTLS) && n < headerLength+50) {
			t.Fatalf("after %d bytes: %v", n, a.Err)
		}
		if n > len(whole)-8 && len(a.Chain) != 2 {
			t.Errorf("after %d bytes of %d the chain is lost", n, len(whole))
		}
	}
}

func TestHostile(t *testing.T) {
	endless := record(recordHandshake, append([]byte{messageCertificate, 1, 0x7f, 0xf0}, make([]byte, 1<<14-4)...)...)
	long := [][]byte{}
	for range ChainLimit + 1 {
		long = append(long, []byte("one"))
	}
	hello := flight()[:4+int(flight()[3])]
	for name, c := range map[string]struct {
		stream []byte
		want   error
	}{
		"nothing":           {nil, ErrClosed},
		"http":              {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), ErrNotTLS},
		"a short greeting":  {[]byte("+OK"), ErrNotTLS},
		"an alert":          {record(recordAlert, 2, 40), AlertHandshakeFailure},
		"half an alert":     {record(recordAlert, 2), ErrMalformed},
		"goodbye":           {record(recordAlert, 1, 0), ErrClosed},
		"16 MB to come":     {record(recordHandshake, messageServerHello, 0xff, 0xff, 0xff), ErrTooLarge},
		"an endless list":   {slices.Concat(fragments(hello, 99), bytes.Repeat(endless, 10)), ErrTooLarge},
		"warnings for ever": {bytes.Repeat(record(recordAlert, 1, 112), ReadLimit), ErrTooLarge},
		"empty records":     {bytes.Repeat(record(recordHandshake), ReadLimit), ErrTooLarge},
		"a long chain":      {fragments(slices.Concat(hello, message(messageCertificate, list(long...)...)), 999), ErrTooLarge},
		"a record too long": {append([]byte{recordHandshake, 3, 3, 0xff, 0xff}, make([]byte, 1<<16)...), ErrNotTLS},
		"cipher change":     {append(fragments(hello, 99), record(recordChangeCipherSpec, 1)...), ErrMalformed},
		"encrypted":         {append(fragments(hello, 99), record(recordApplicationData, 1, 2)...), ErrMalformed},
		"no certificate":    {fragments(slices.Concat(hello, message(messageCertificate, list()...), message(messageServerHelloDone)), 99), nil},
		"an empty one":      {fragments(slices.Concat(hello, message(messageCertificate, list(nil)...)), 99), ErrMalformed},
		"a wrong length":    {fragments(slices.Concat(hello, message(messageCertificate, 0, 0, 9, 1)), 99), ErrMalformed},
		"another message":   {fragments(message(messageFinished, 1, 2, 3), 99), ErrMalformed},
		"a hello cut short": {fragments(message(messageServerHello, 3, 3, 1), 99), ErrMalformed},
	} {
		if a := playBack(c.stream); !errors.Is(a.Err, c.want) || len(a.Chain) != 0 {
			t.Errorf("%s: %v, %d certificates, want %v", name, a.Err, len(a.Chain), c.want)
		}
	}
}

// TestReadLimit shows that an exchange takes no more from the network than it may.
func TestReadLimit(t *testing.T) {
	source := bytes.NewReader(bytes.Repeat(record(recordAlert, 1, 112), ReadLimit))
	NewProber().Ask(tape{source}, &Offer{Versions: []Version{TLS12}, Suites: SuitesOf(TLS12)})
	if taken := source.Size() - int64(source.Len()); taken != ReadLimit {
		t.Errorf("took %d bytes, want %d", taken, ReadLimit)
	}
}

// TestHelloHasItsForm reads a hello back.
func TestHelloHasItsForm(t *testing.T) {
	for _, bare := range []bool{false, true} {
		o := Offer{Versions: []Version{TLS13, TLS12}, Suites: SuitesOf(TLS12), Groups: Groups(), Schemes: Schemes(), ServerName: "a.example", Bare: bare}
		m, err := o.marshal(part{random: make([]byte, randomLength), session: make([]byte, 32), group: X25519, share: make([]byte, 32)})
		if err != nil || m[0] != messageClientHello || int(m[1])<<16+int(binary.BigEndian.Uint16(m[2:])) != len(m)-4 {
			t.Errorf("bare %v: %d bytes, %v", bare, len(m), err)
		}
		if bytes.Contains(m, []byte("a.example")) == bare {
			t.Errorf("bare %v: %q", bare, m)
		}
	}
}

func FuzzAsk(f *testing.F) {
	f.Add(fragments(flight(), 40))
	f.Add(slices.Concat(record(recordAlert, 1, 112), fragments(flight(), 1000)))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	modern := append([]byte{3, 3}, []byte(retryRandom)...)
	modern = append(modern, 0, 0x13, 0x01, 0, 0, 12, 0, 43, 0, 2, 3, 4, 0, 51, 0, 2, 0, 23)
	f.Add(fragments(message(messageServerHello, modern...), 1000))
	prober := NewProber()
	f.Fuzz(func(t *testing.T, stream []byte) {
		for _, depth := range []Depth{ReadChoice, ReadProof} {
			offer := &Offer{Versions: []Version{TLS13, TLS12}, Suites: SuitesOf(TLS12), Groups: []Group{X25519, P256}, Schemes: Schemes(), Read: depth}
			check(t, prober.Ask(tape{bytes.NewReader(stream)}, offer), len(stream))
		}
	})
}

// check holds what every answer promises.
func check(t *testing.T, a Answer, size int) {
	total := len(a.Staple)
	for _, der := range slices.Concat(a.Chain, a.Issuers) {
		total += len(der)
	}
	if total > size || len(a.Chain) > ChainLimit || len(a.Issuers) > IssuerLimit {
		t.Errorf("%d certificates and %d issuers of %d bytes out of %d", len(a.Chain), len(a.Issuers), total, size)
	}
	if a.Proof.Check(nil) == nil {
		t.Error("proven without a key")
	}
}

// FuzzMessages reads the bodies that TLS 1.3 encrypts, which FuzzAsk cannot reach.
func FuzzMessages(f *testing.F) {
	f.Add(byte(messageEncryptedExts), []byte{0, 9, 0, 16, 0, 5, 0, 3, 2, 'h', '2'})
	f.Add(byte(messageCertificateRequest), []byte{0, 0, 12, 0, 47, 0, 8, 0, 6, 0, 4, 'n', 'a', 'm', 'e'})
	f.Add(byte(messageCertificate), []byte{0, 0, 0, 9, 0, 0, 4, 'l', 'e', 'a', 'f', 0, 0})
	f.Add(byte(messageCertificateVerify), []byte{8, 4, 0, 3, 1, 2, 3})
	f.Add(byte(messageServerKeyExchange), []byte{3, 0, 23, 1, 4, 8, 4, 0, 1, 9})
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		x := exchange{part: part{random: make([]byte, randomLength)}, answer: Answer{Version: TLS12, Suite: 0xc02f, Chain: [][]byte{{}}}}
		x.transcript = NewProber().sha256.hash()
		switch kind {
		case messageEncryptedExts:
			x.answer.Err = x.answer.encryptedExtensions(body)
		case messageCertificateRequest:
			x.answer.Err = x.answer.modernRequest(body)
		case messageCertificate:
			x.answer.Err = x.answer.certificates(body, true)
		case messageCertificateVerify:
			x.answer.Err = x.modernProof(body)
		default:
			x.answer.Err = x.keyExchange(serverHello{}, bytes.Clone(body))
		}
		check(t, x.answer, len(body))
	})
}
