// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

func FuzzEnvelope(f *testing.F) {
	aead, err := newAEAD(bytes.Repeat([]byte{9}, keySize))
	if err != nil {
		f.Fatal(err)
	}
	blob := sealWith(aead, []byte("text"), []byte("aad"))
	f.Add(blob, []byte("aad"))
	f.Add(blob[:overhead], []byte("aad"))
	f.Add([]byte{}, []byte{})
	f.Add([]byte{formOne}, []byte("aad"))
	f.Fuzz(func(t *testing.T, blob, aad []byte) {
		text, err := openWith(aead, blob, aad)
		if err == nil && (string(text) != "text" || string(aad) != "aad") {
			t.Fatalf("forged: %x", blob)
		}
		if err != nil && !errors.Is(err, tallystick.ErrDamaged) {
			t.Fatal(err)
		}
	})
}

func FuzzPassphraseParameters(f *testing.F) {
	f.Add(`{"kdf":"argon2id","salt":"00112233445566778899aabbccddeeff","time":3,"memory":65536,"threads":4}`)
	f.Add(`{"kdf":"argon2id","salt":"","time":-1,"memory":1e99,"threads":400}`)
	f.Fuzz(func(t *testing.T, text string) {
		c, salt, err := parseCosts(text)
		if err == nil && (len(salt) < 16 || len(salt) > 64 || c.Time*c.Memory == 0 || c.Memory > 1<<20 || c.Time > 16) {
			t.Fatalf("%+v", c)
		}
	})
}

func FuzzTPMParameters(f *testing.F) {
	f.Add(`{"id":"00112233445566778899aabbccddeeff","parent":"ecc","public":"AAA=","private":"AAA="}`)
	f.Add(`{"id":"00112233445566778899aabbccddeeff","parent":"0x81000001","public":"AC4ACAALAAAABgAAABAAIAAA","private":"AAIAAA=="}`)
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := parseSealed(text); err == nil && (len(s.Public) == 0 || len(s.ID) != 32) {
			t.Fatalf("%+v", s)
		}
	})
}

func FuzzTokenKey(f *testing.F) {
	f.Add(tokenKey{"a token", []byte{1, 0xff}}.String())
	f.Add("pkcs11:token=;id=;type=private")
	f.Add("pkcs11:token=%zz;id=%01;type=private")
	f.Fuzz(func(t *testing.T, uri string) {
		if k, err := parseTokenKey(uri); err == nil && k.String() != uri {
			t.Fatalf("%q is read as %q", uri, k)
		}
	})
}

func FuzzKey(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, public, err := encodeKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der, public)
	f.Add(der[:40], public)
	f.Fuzz(func(t *testing.T, der, public []byte) {
		if signer, err := decodeKey(der, public); err == nil && samePublic(signer, public) != nil {
			t.Fatal("a key of another public key")
		}
	})
}

// No two rows have the same text that is authenticated.
func TestAADTellsRowsApart(t *testing.T) {
	seen := map[string]store.Secret{}
	for _, s := range []store.Secret{
		{ID: "ab", Kind: "c"}, {ID: "a", Kind: "bc"}, {ID: "a", Owner: "bc"}, {ID: "a", Kind: "b", Owner: "c"}, {ID: "a", Kind: "b", Public: []byte("c")},
	} {
		if other, ok := seen[string(aadOf(s))]; ok {
			t.Errorf("%+v and %+v", s, other)
		}
		seen[string(aadOf(s))] = s
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(3)
	loads := 0
	load := func(context.Context) (crypto.Signer, error) { loads++; return fakeSigner{}, nil }
	get := func(id string) {
		t.Helper()
		if _, err := c.get(t.Context(), id, load); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"a", "b", "c", "a", "d", "a", "c"} { // d drives b out
		get(id)
	}
	if loads != 4 || len(c.ready) != 3 || c.order.Len() != 3 {
		t.Errorf("%d loads, %d kept", loads, len(c.ready))
	}
	get("b")
	c.drop("a")
	get("a")
	if loads != 6 {
		t.Errorf("%d loads", loads)
	}
}

type fakeSigner struct{ crypto.Signer }

// What was destroyed while it was fetched is not kept, and an error is not either.
func TestCacheKeepsNothingStale(t *testing.T) {
	c := newCache(3)
	_, err := c.get(t.Context(), "a", func(context.Context) (crypto.Signer, error) {
		c.drop("a")
		return fakeSigner{}, nil
	})
	if err != nil || len(c.ready) != 0 {
		t.Error("it is kept", err)
	}
	for range 2 {
		if _, err := c.get(t.Context(), "a", func(context.Context) (crypto.Signer, error) { return nil, tallystick.ErrUnavailable }); err != tallystick.ErrUnavailable {
			t.Error(err)
		}
	}
	if len(c.fetching) != 0 {
		t.Error("a fetch is left over")
	}
}

// Who waits for somebody who gives up fetches it for themselves.
func TestCacheOutlivesWhoGivesUp(t *testing.T) {
	c := newCache(3)
	ctx, cancel := context.WithCancel(t.Context())
	begun, first := make(chan bool), make(chan error)
	go func() {
		_, err := c.get(ctx, "a", func(ctx context.Context) (crypto.Signer, error) {
			close(begun)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		first <- err
	}()
	<-begun
	next := make(chan error)
	go func() {
		_, err := c.get(t.Context(), "a", func(context.Context) (crypto.Signer, error) { return fakeSigner{}, nil })
		next <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := <-next; err != nil {
		t.Error(err)
	}
}

// A process that hardened itself says so, and leaves no core.
func TestHarden(t *testing.T) {
	if os.Getenv("CUSTODY_TEST_HARDEN") != "" {
		if err := Harden(); err != nil {
			t.Fatal(err)
		}
		limits, err := os.ReadFile("/proc/thread-self/limits")
		if err != nil {
			t.Fatal(err)
		}
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if dumpable != 0 || err != nil {
			t.Error("its memory can be dumped:", dumpable, err)
		}
		fmt.Println(string(limits))
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHarden$", "-test.v")
	cmd.Env = append(os.Environ(), "CUSTODY_TEST_HARDEN=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "Max core file size") {
			if fields := strings.Fields(line); fields[4] != "0" || fields[5] != "0" {
				t.Error(line)
			}
			return
		}
	}
	t.Errorf("there are no limits in %s", out)
}
