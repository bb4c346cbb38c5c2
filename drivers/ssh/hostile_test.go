// SPDX-License-Identifier: Apache-2.0

package ssh

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

const hello = "SSH-2.0-hostile\r\n"

// kexInitOf makes the packet of a KEXINIT with these lists.
func kexInitOf(exchanges, hostKeys, ciphers, macs string) []byte {
	body := append([]byte{messageKexInit}, make([]byte, 16)...)
	for _, list := range []string{exchanges, hostKeys, ciphers, ciphers, macs, macs, "none", "none", "", ""} {
		body = binary.BigEndian.AppendUint32(body, uint32(len(list)))
		body = append(body, list...)
	}
	return packetOf(append(body, 0, 0, 0, 0, 0))
}

func packetOf(payload []byte) []byte {
	padding := 8 - (5+len(payload))%8 + 4
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
	b = append(append(b, byte(padding)), payload...)
	return append(b, make([]byte, padding)...)
}

// say sends text and then waits until the other side goes.
func say(text string) handler {
	return func(conn net.Conn) {
		io.WriteString(conn, text)
		io.Copy(io.Discard, conn)
	}
}

// sayAndClose sends text, reads what has come, and closes.
func sayAndClose(text string) handler {
	return func(conn net.Conn) {
		io.ReadFull(conn, make([]byte, len(identification)))
		io.WriteString(conn, text)
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.CloseWrite()
		}
		io.Copy(io.Discard, conn)
	}
}

// flood sends text again and again.
func flood(text string) handler {
	return func(conn net.Conn) {
		for {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	}
}

func TestHostileServers(t *testing.T) {
	sound := string(kexInitOf("curve25519-sha256", "ssh-ed25519", "aes128-ctr", "hmac-sha2-256"))
	for name, row := range map[string]struct {
		serve handler
		want  string
	}{
		"silent":             {say(""), "timeout"},
		"closes":             {sayAndClose(""), "closed"},
		"resets":             {func(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0) }, "reset"},
		"http":               {sayAndClose("HTTP/1.1 400 Bad Request\r\n\r\n"), "not-ssh"},
		"smtp":               {sayAndClose("220 mail.example ESMTP\r\n"), "not-ssh"},
		"binary":             {sayAndClose("\x15\x03\x01\x00\x02\x02\x46"), "not-ssh"},
		"busy":               {sayAndClose("Exceeded MaxStartups\r\n"), "throttled"},
		"penalised":          {sayAndClose("Not allowed at this time\r\n"), "throttled"},
		"endless lines":      {flood("hello\r\n"), "not-ssh"},
		"endless line":       {flood("hello"), "not-ssh"},
		"old":                {say("SSH-1.5-old\r\n" + strings.Repeat("\x00", 64)), "ssh-1"},
		"long name":          {flood("SSH-2.0-" + strings.Repeat("x", 1000)), "malformed"},
		"tarpit":             {tarpit, "timeout"},
		"only a name":        {say(hello), "timeout"},
		"name and close":     {sayAndClose(hello), "closed"},
		"huge packet":        {say(hello + "\xff\xff\xff\xff\x04" + strings.Repeat("x", 100)), "malformed"},
		"huge allowed one":   {flood(hello + "\x00\x03\xff\xf4\x04" + strings.Repeat("x", 4096)), "too-large"},
		"empty packet":       {say(hello + "\x00\x00\x00\x00\x00" + strings.Repeat("\x00", 64)), "malformed"},
		"short lists":        {sayAndClose(hello + string(packetOf(append([]byte{messageKexInit}, make([]byte, 20)...)))), "malformed"},
		"another message":    {sayAndClose(hello + string(packetOf([]byte{99, 1, 2, 3}))), "malformed"},
		"unknown host keys":  {say(hello + string(kexInitOf("curve25519-sha256", "ssh-future", "aes128-ctr", "hmac-sha2-256"))), "no-common-algorithm"},
		"unknown ciphers":    {say(hello + string(kexInitOf("curve25519-sha256", "ssh-ed25519", "future", "hmac-sha2-256"))), "no-common-algorithm"},
		"hangs in exchange":  {say(hello + sound), "timeout"},
		"closes in exchange": {sayAndClose(hello + sound), "closed"},
		"junk in exchange":   {say(hello + sound + string(packetOf([]byte{messageReply, 0, 0, 0, 9, 1}))), "malformed"},
		"a key of nothing":   {say(hello + sound + string(packetOf(append([]byte{messageReply}, strings.Repeat("\x00\x00\x00\x04abcd", 3)...)))), "malformed"},
		"endless keep-alive": {func(conn net.Conn) {
			io.WriteString(conn, hello+sound)
			flood(strings.Repeat(string(packetOf([]byte{2, 0, 0, 0, 0})), 50))(conn)
		}, "too-large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := listen(t, row.serve)
			began := time.Now()
			timeout := "400ms"
			if row.want != "timeout" { // a busy machine may be slow
				timeout = "10s"
			}
			seen := find(t, map[string]string{"timeout": timeout}, address)
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %v", took)
			}
			if len(seen.Misses) != 1 || len(seen.Sightings) > 0 || seen.Misses[0].Error != row.want || seen.Misses[0].Place != place(address) {
				t.Errorf("%d sightings, want a miss that says %s:\n%s", len(seen.Sightings), row.want, describe(seen.Misses))
			}
		})
	}
}

// tarpit sends a line without end, byte by byte.
func tarpit(conn net.Conn) {
	for {
		if _, err := io.WriteString(conn, "x"); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A server whose second exchange fails is seen and missed, so that what was
// not seen is not taken for gone.
func TestAServerThatHangsUpLater(t *testing.T) {
	signer := oldSigner(t)
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(signer)
	turns := make(chan int, 100)
	address := listen(t, func(conn net.Conn) {
		turns <- 1
		if len(turns) > 1 {
			return
		}
		ssh.NewServerConn(&offering{Conn: conn, also: "ssh-dss"}, config)
	})
	seen := find(t, map[string]string{"timeout": "1s"}, address)
	if len(seen.Misses) != 1 || seen.Misses[0].Place != place(address) || !strings.Contains(seen.Misses[0].Detail, "host key ssh-dss") {
		t.Errorf("%d sightings, misses:\n%s", len(seen.Sightings), describe(seen.Misses))
	}
	// The exchange hash covers the server's KEXINIT, which was changed on the way.
	if len(seen.Sightings) != 1 || seen.Sightings[0].SSH.Evidence != "seen" {
		t.Errorf("seen as %+v", seen.Sightings)
	}
}

// offering adds a host key algorithm to what a server offers.
type offering struct {
	net.Conn
	also string
	sent bool
}

func (o *offering) Write(p []byte) (int, error) {
	if i := bytes.Index(p, []byte("ssh-rsa")); i >= 0 && !o.sent {
		payload, _, ok := packet(p)
		if ok && payload[0] == messageKexInit {
			o.sent = true
			offer := kexInit(payload)
			changed := kexInitOf(strings.Join(offer.exchanges, ","), "ssh-rsa,"+o.also, strings.Join(offer.ciphers, ","), strings.Join(offer.macs, ","))
			_, err := o.Conn.Write(changed)
			return len(p), err
		}
	}
	return o.Conn.Write(p)
}

func TestGreetings(t *testing.T) {
	g := readGreeting([]byte("Welcome\r\nto this\nSSH-2.0-x y\r\n" + string(kexInitOf("a,b", "c,,d\x01,"+strings.Repeat("e", 65), "f", "g"))))
	if g.software != "SSH-2.0-x y" || g.other != "Welcome" || g.offer == nil ||
		!slices.Equal(g.offer.exchanges, []string{"a", "b"}) || !slices.Equal(g.offer.hostKeys, []string{"c"}) {
		t.Errorf("read as %+v, %+v", g, g.offer)
	}
	many := strings.TrimSuffix(strings.Repeat("x,", 1000), ",")
	if g := readGreeting([]byte(hello + string(kexInitOf(many, "c", "f", "g")))); len(g.offer.exchanges) != maxNames {
		t.Errorf("%d names of one list are kept", len(g.offer.exchanges))
	}
}

func FuzzGreeting(f *testing.F) {
	f.Add([]byte(hello))
	f.Add([]byte("Exceeded MaxStartups\r\n"))
	f.Add([]byte(hello + string(kexInitOf("curve25519-sha256", "ssh-ed25519", "aes128-ctr", "hmac-sha2-256"))))
	key := fmt.Sprintf("\x00\x00\x00\x33\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20%032d", 7)
	f.Add([]byte(hello + string(packetOf([]byte("\x1f"+key)))))
	f.Add([]byte("SSH-2.0-x\n\x00\x00\x00\x0c\x0a\x14"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		g := readGreeting(stream)
		if g.offer != nil {
			for _, list := range [][]string{g.offer.exchanges, g.offer.hostKeys, g.offer.ciphers, g.offer.macs} {
				for _, name := range list {
					if len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
						t.Fatalf("%q passes for a name", name)
					}
				}
			}
		}
		if c, ok := credentialOf(g.key); ok && c.ID == "" {
			t.Fatal("a credential without a fingerprint")
		}
	})
}
