// SPDX-License-Identifier: Apache-2.0

package parse_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// words returns the words of the problems.
func words(result parse.Result) map[string]int {
	all := map[string]int{}
	for _, p := range result.Problems {
		all[p.Word]++
	}
	return all
}

// The smallest things of the shape of a certificate, one after the other, need
// neither a stack nor memory without end.
func TestManyCertificates(t *testing.T) {
	smallest, err := hex.DecodeString("3013300d020101" + "30003000300030003000" + "3000" + "0300")
	if err != nil {
		t.Fatal(err)
	}
	result := quick(t, "many.der", bytes.Repeat(smallest, 16<<20/len(smallest)))
	if len(result.Items) != 10_000 || words(result)["too-many"] != 1 {
		t.Errorf("%d items, problems: %v", len(result.Items), result.Problems)
	}
}

// Entries without a certificate are sealed, and there are only so many of them.
func TestManySealedEntries(t *testing.T) {
	store := []byte("\xfe\xed\xfe\xed\x00\x00\x00\x02\x7f\xff\xff\xff")
	for i := range uint32(190_000) {
		store = append(store, "\x00\x00\x00\x01\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04"...)
		store = binary.BigEndian.AppendUint32(store, i)
		store = append(store, 0, 0, 0, 0)
	}
	result := quick(t, "many.jks", store)
	if len(result.Items) != 1000 || words(result)["too-many"] != 1 {
		t.Errorf("%d items, problems: %v", len(result.Items), result.Problems)
	}
}

// bomb is a key that asks for as many rounds as one file is allowed.
func bomb(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	openssl(t, dir, "genpkey -algorithm ED25519 -out key.pem")
	openssl(t, dir, "pkcs8 -topk8 -v2prf hmacWithSHA512 -iter 1200000 -in key.pem -outform DER -out key.der -passout pass:"+rand.Text())
	der, err := os.ReadFile(filepath.Join(dir, "key.der"))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// What files ask for in all is bounded by the Work that they share.
func TestSharedWork(t *testing.T) {
	der := bomb(t)
	budget := parse.NewWork(3 * time.Second)
	start := time.Now()
	for range 1000 {
		result := parse.BytesWithin(t.Context(), budget.Part(parse.MaxFileWork), "key.der", der, nil)
		if len(result.Items) != 1 || result.Items[0].Credential.Kind != tallystick.KindSealed || words(result)["too-much-work"] != 1 {
			t.Fatalf("%+v", result)
		}
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("a thousand files took %v", took)
	}
}

// A look that was called off tries no further passphrase.
func TestCancelledWork(t *testing.T) {
	dir := t.TempDir()
	sshKeygen(t, dir, "-t", "ed25519", "-N", "changeit", "-f", "id")
	data, err := os.ReadFile(filepath.Join(dir, "id"))
	if err != nil {
		t.Fatal(err)
	}
	if item := parse.Bytes("id", data, nil).Items[0]; !item.WeakPassphrase {
		t.Error("the work of one file is not enough for a key as ssh-keygen makes it")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	result := parse.BytesWithin(ctx, parse.NewWork(time.Hour), "id", data, nil)
	if len(result.Items) != 1 || result.Items[0].WeakPassphrase || words(result)["too-much-work"] != 1 {
		t.Errorf("%+v", result)
	}
	if result := parse.BytesWithin(t.Context(), parse.NewWork(time.Millisecond), "id", data, nil); result.Items[0].WeakPassphrase || words(result)["too-much-work"] != 1 {
		t.Errorf("the passphrases of OpenSSH are not charged: %+v", result)
	}
}
