// SPDX-License-Identifier: Apache-2.0

package postgresql

import (
	"bytes"
	"encoding/base64"
	"testing"
)

func TestVerifiers(t *testing.T) {
	t.Parallel()
	for password, want := range map[string]bool{"a plain one": true, "": true, "ä": true, "\xff": true, "\u00a0": false, "ﬁ": false, "a\u00ad": false, "🔑": true, "e\u0301": false} {
		if got := asItStands(password); got != want {
			t.Errorf("%q: %v, want %v", password, got, want)
		}
	}
	v, err := newVerifier("right", 0)
	if err != nil || !v.isOf("right", "r") || v.isOf("wrong", "r") || v.isOf("", "r") {
		t.Errorf("%s: %v", v, err)
	}
	if none, err := newVerifier("", 0); err != nil || !none.isOf("", "r") || none.isOf("right", "r") {
		t.Errorf("%s: %v", none, err)
	}
	if _, err := newVerifier("ﬁ", 0); err == nil {
		t.Error("a password is set that the server reads as another")
	}
	// RFC 7677 section 3, without what belongs to one sign-in.
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	const want = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	if got, err := scram("pencil", salt, 4096); err != nil || got != want {
		t.Errorf("%s, want %s (%v)", got, want, err)
	}
	if md5 := verifier("md5" + "3175bce1d3201d16594cebf9d7eb3f9d"); !md5.isOf("postgres", "postgres") || md5.isOf("postgres", "other") {
		t.Error("MD5 is not told apart")
	}
}

func FuzzVerifier(f *testing.F) {
	f.Add("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$a:b")
	f.Add("SCRAM-SHA-256$999999999:W22ZaJ0SNY7soEsUEjb6gQ==$a:b")
	f.Add("md5")
	f.Add("SCRAM-SHA-256$:")
	f.Fuzz(func(t *testing.T, text string) {
		if rounds, _, err := verifier(text).parameters(); err == nil && (rounds < 1 || rounds > maxIterations) {
			t.Errorf("%d rounds", rounds)
		}
	})
}

func hears(stream []byte, piece int) *overheard {
	o := &overheard{in: bytes.NewReader(stream)}
	p := make([]byte, min(piece, len(stream)+1))
	for {
		if _, err := o.Read(p); err != nil {
			return o
		}
	}
}

// FuzzOverheard: however a stream is cut, the same is heard.
func FuzzOverheard(f *testing.F) {
	f.Add([]byte("R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00R\x00\x00\x00\x08\x00\x00\x00\x00E"), 3)
	f.Add([]byte("E\x00\x00\x00\x00R\xff\xff\xff\xff\x00\x00\x00\x00"), 1)
	f.Fuzz(func(t *testing.T, stream []byte, piece int) {
		piece = max(1, piece)
		whole, cut := hears(stream, len(stream)+1), hears(stream, piece)
		if whole.let != cut.let || whole.asked != cut.asked {
			t.Errorf("%+v in one piece, %+v in pieces of %d", whole, cut, piece)
		}
	})
}
