// SPDX-License-Identifier: Apache-2.0

package ad

import (
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/iana/patype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/lab"
)

// hint writes what a KDC says about keys: a kind, and the number of iterations.
func hint(t testing.TB, kind int32, iterations uint32) types.PADataSequence {
	t.Helper()
	entry := []byte{0xa0, 3, 2, 1, byte(kind), 0xa1, 3, 0x1b, 1, 's', 0xa2, 6, 4, 4}
	entry = binary.BigEndian.AppendUint32(entry, iterations)
	value := append([]byte{0x30, byte(len(entry) + 2), 0x30, byte(len(entry))}, entry...)
	return types.PADataSequence{{PADataType: patype.PA_ETYPE_INFO2, PADataValue: value}}
}

// TestKey makes keys in bounded time, whatever a KDC asks for.
func TestKey(t *testing.T) {
	t.Parallel()
	for _, kind := range []int32{17, 18, 23} {
		if key, err := keyOf("secret", hint(t, kind, 4096), false); err != nil || key.KeyType != kind {
			t.Errorf("kind %d: %v, %v", kind, key.KeyType, err)
		}
		for _, iterations := range []uint32{0, 1<<32 - 1} {
			if _, err := keyOf("secret", hint(t, kind, iterations), false); err == nil {
				t.Errorf("kind %d: a key of %d iterations is made", kind, iterations)
			}
		}
	}
	if _, err := keyOf("pässword", hint(t, 23, 1), false); err == nil {
		t.Error("a key of RC4 is made of characters that the library gets wrong")
	}
	if _, err := keyOf("secret", hint(t, 3, 1), false); err == nil {
		t.Error("a key of DES is made")
	}
}

// TestNothingToGuessFrom has a KDC in between that asks for proofs from which a password is guessed
// cheaply: it gets none of an old password, and one of a password that is random.
func TestNothingToGuessFrom(t *testing.T) {
	t.Parallel()
	for name, weak := range map[string]types.PADataSequence{"rc4": hint(t, 23, 1), "rounds": hint(t, 18, leastIterations-1)} {
		t.Run(name, func(t *testing.T) {
			said := messages.NewKRBError(types.NewPrincipalName(2, "krbtgt/LAB.TEST"), "LAB.TEST", 25, "")
			said.EData = hinted(weak)
			answer, err := said.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			var asked, proofs atomic.Int32
			k := kdc{realm: "LAB.TEST", timeout: time.Minute}
			k.address = lab.Serve(t, "127.0.0.1:0", func(conn net.Conn) {
				var request messages.ASReq
				body, err := readAnswer(conn)
				if err == nil {
					err = request.Unmarshal(body)
				}
				if err != nil {
					t.Error(err)
				}
				asked.Add(1)
				for _, one := range request.PAData {
					if one.PADataType == patype.PA_ENC_TIMESTAMP {
						proofs.Add(1)
					}
				}
				conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(answer))), answer...))
			})
			old := driver.NewSecret("Summer2019")
			tried := &rotating{standing: &standing{kdc: k, name: "svc"}, request: driver.SecretRequest{Old: old, New: old, Now: time.Now}}
			a, err := tried.enterAt(t.Context(), 1, tried.request.New) // as somebody does who looks whether Old gets in
			if err != nil {
				t.Fatal(err)
			}
			if a.Outcome != driver.OutcomeFailed || !strings.HasPrefix(a.Answer, "not tried") || asked.Load() != 1 || proofs.Load() != 0 {
				t.Errorf("%d proofs of the old one are sent: %+v", proofs.Load(), a)
			}
			if _, err := tried.enterAt(t.Context(), 1, driver.NewSecret("made at random")); err != nil {
				t.Fatal(err)
			}
			if proofs.Load() != 1 {
				t.Errorf("%d proofs of a random one are sent, want 1", proofs.Load())
			}
		})
	}
}

// TestRefusalAlone is of a KDC that refuses Old, as anybody in between can, where LDAP says nothing.
func TestRefusalAlone(t *testing.T) {
	t.Parallel()
	refused := driver.Attempt{Outcome: driver.OutcomeRefused, Answer: "KDC_ERR_PREAUTH_FAILED"}
	for byLDAP, want := range map[string]string{
		driver.OutcomeFailed: driver.OutcomeFailed, driver.OutcomeRefused: driver.OutcomeRefused, driver.OutcomeAccepted: driver.OutcomeRefused,
	} {
		got := weighed(driver.Attempt{Outcome: byLDAP}, refused)
		if got.Outcome != want || strings.Contains(got.Answer, "no proof") != (byLDAP != driver.OutcomeRefused) {
			t.Errorf("where LDAP says %s: %+v, want %s", byLDAP, got, want)
		}
	}
}

// hinted writes hints as a KDC has them in an error.
func hinted(hints types.PADataSequence) []byte {
	one := hints[0].PADataValue
	inner := append([]byte{0xa1, 3, 2, 1, 19, 0xa2, byte(len(one) + 2), 4, byte(len(one))}, one...)
	return append([]byte{0x30, byte(len(inner) + 2), 0x30, byte(len(inner))}, inner...)
}

// FuzzKDC reads what a hostile KDC answers.
func FuzzKDC(f *testing.F) {
	said := messages.NewKRBError(types.NewPrincipalName(2, "krbtgt/LAB.TEST"), "LAB.TEST", 25, "")
	for _, hints := range []types.PADataSequence{nil, hint(f, 18, 1), hint(f, 23, 1), {{PADataType: patype.PA_ETYPE_INFO2, PADataValue: []byte{0x30, 0}}}} {
		said.EData = []byte{0x30, 0}
		if hints != nil {
			said.EData = hinted(hints)
		}
		answer, err := said.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(binary.BigEndian.AppendUint32(nil, uint32(len(answer))), answer)
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, []byte("HTTP/1.1 400 Bad Request"))
	f.Fuzz(func(t *testing.T, head, body []byte) {
		answer, err := readAnswer(bytes.NewReader(append(bytes.Clone(head), body...)))
		if err == nil && len(answer) > maxTicket {
			t.Error("an answer without bounds is read")
		}
		if hints, err := hintsOf(body); err == nil {
			for i := range hints { // not the work of a million iterations
				if len(hints[i].PADataValue) > 4 && bytes.Contains(hints[i].PADataValue, []byte{4, 4}) {
					return
				}
			}
			_, _ = keyOf("secret", hints, false)
		}
		key := types.EncryptionKey{KeyType: 18, KeyValue: make([]byte, 32)}
		if err := opened(body, key, 1); err == nil {
			t.Error("a key of nothing opens what was made up")
		}
		if err := opened(body, types.EncryptionKey{KeyType: 23, KeyValue: make([]byte, 16)}, 1); err == nil {
			t.Error("a key of nothing opens what was made up")
		}
	})
}
