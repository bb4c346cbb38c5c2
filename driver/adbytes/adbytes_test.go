// SPDX-License-Identifier: Apache-2.0

package adbytes_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/driver/adbytes"
)

// keyCredential makes a blob as Windows does, or with a hash that is of something else.
func keyCredential(t testing.TB, sound bool) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return keyBlob(bcrypt(&key.PublicKey), sound)
}

func bcrypt(key *rsa.PublicKey) []byte {
	material := binary.LittleEndian.AppendUint32([]byte("RSA1"), uint32(key.N.BitLen()))
	for _, n := range []uint32{3, uint32(key.Size()), 0, 0} {
		material = binary.LittleEndian.AppendUint32(material, n)
	}
	return append(append(material, 1, 0, 1), key.N.FillBytes(make([]byte, key.Size()))...)
}

func keyBlob(material []byte, sound bool) []byte {
	entry := func(id byte, data []byte) []byte {
		return append(append(binary.LittleEndian.AppendUint16(nil, uint16(len(data))), id), data...)
	}
	sum := sha256.Sum256(material)
	behind := append(entry(3, material), entry(4, []byte{1})...)
	behind = append(behind, entry(5, []byte{0})...)
	behind = append(behind, entry(6, []byte{0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff})...)
	behind = append(behind, entry(9, binary.LittleEndian.AppendUint64(nil, 134_083_296_000_000_000))...)
	hash := sha256.Sum256(behind)
	if !sound {
		hash[0] ^= 1
	}
	blob := append([]byte{0, 2, 0, 0}, entry(1, sum[:])...)
	return append(append(blob, entry(2, hash[:])...), behind...)
}

func TestKeyCredential(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, material := range map[string][]byte{"bcrypt": bcrypt(&key.PublicKey), "spki": spki} {
		sum := sha256.Sum256(material)
		want := adbytes.KeyCredential{
			ID: hex.EncodeToString(sum[:]), Usage: "sign-in", Source: "directory", Device: "00112233-4455-6677-8899-aabbccddeeff", SPKI: spki,
			Created: time.Date(2025, 11, 23, 0, 0, 0, 0, time.UTC), Sound: true,
		}
		got, err := adbytes.ReadKeyCredential(keyBlob(material, true))
		if err != nil {
			t.Fatal(name, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(name, d)
		}
		if forged, err := adbytes.ReadKeyCredential(keyBlob(material, false)); err != nil || forged.Sound {
			t.Errorf("%s: a hash of something else is taken: %+v %v", name, forged, err)
		}
	}
	// A key of another form, such as that of a TPM, is known by its identifier.
	if other, err := adbytes.ReadKeyCredential(keyBlob([]byte("PCPM and more"), true)); err != nil || other.SPKI != nil || other.ID == "" {
		t.Errorf("%+v %v", other, err)
	}
	blob := keyBlob(spki, true)
	twice := append(append([]byte{}, blob...), blob[4:39]...)
	for name, bad := range map[string][]byte{"empty": nil, "version": append([]byte{0, 1, 0, 0}, blob[4:]...), "cut": blob[:len(blob)-1], "twice": twice, "no key": blob[:39]} {
		if _, err := adbytes.ReadKeyCredential(bad); !errors.Is(err, adbytes.ErrMalformed) {
			t.Errorf("%s gives %v", name, err)
		}
	}
}

// descriptor makes one with one entry of a kind.
func descriptor(mask uint32, kind byte) []byte {
	who := []byte{1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0}
	entry := binary.LittleEndian.AppendUint32([]byte{kind, 0, 0, 0}, mask)
	if kind == 5 || kind == 6 || kind == 11 {
		entry = append(append(entry, 1, 0, 0, 0), 0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff)
	}
	entry = append(entry, who...)
	entry[2] = byte(len(entry))
	list := append([]byte{2, 0, byte(8 + len(entry)), 0, 1, 0, 0, 0}, entry...)
	head := []byte{1, 0, 4, 0x80, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(20 + len(who)), 0, 0, 0}
	return append(append(head, who...), list...)
}

func TestDescriptor(t *testing.T) {
	d, err := adbytes.ReadDescriptor(descriptor(0x100, 5))
	if err != nil {
		t.Fatal(err)
	}
	want := adbytes.Descriptor{Owner: "S-1-5-32-544", Entries: []adbytes.Entry{
		{Allow: true, Mask: 0x100, Object: "00112233-4455-6677-8899-aabbccddeeff", Who: "S-1-5-32-544"},
	}}
	if d := cmp.Diff(want, d); d != "" {
		t.Error(d)
	}
	for name, one := range map[string]struct {
		bytes []byte
		want  []adbytes.SID
	}{
		"allowed":        {descriptor(0xf01ff, 0), []adbytes.SID{"S-1-5-32-544"}},
		"denied":         {descriptor(0xf01ff, 1), nil},
		"nothing":        {descriptor(0, 0), nil},
		"audited":        {descriptor(0xf01ff, 2), nil},
		"nobody is kept": {[]byte{1, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, []adbytes.SID{"S-1-1-0"}},
	} {
		d, err := adbytes.ReadDescriptor(one.bytes)
		if diff := cmp.Diff(one.want, d.Allowed()); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	if name := adbytes.SID("S-1-5-21-1-2-3-512").WellKnown(); name != "Domain Admins" {
		t.Error(name)
	}
}

func metadata(id, version uint32, seconds uint64) []byte {
	b := make([]byte, 16, 64)
	b[0], b[8] = 1, 1
	b = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, id), version)
	b = binary.LittleEndian.AppendUint64(b, seconds)
	b = append(b, make([]byte, 16)...)
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, 7), 8)
}

func TestMetadata(t *testing.T) {
	all, err := adbytes.ReadMetadata(metadata(36, 3, 13_408_329_600))
	if err != nil {
		t.Fatal(err)
	}
	want := adbytes.PropertyChange{Version: 3, At: time.Date(2025, 11, 23, 0, 0, 0, 0, time.UTC), Where: "00000000-0000-0000-0000-000000000000", USN: 7, Local: 8}
	if d := cmp.Diff(map[adbytes.AttributeID]adbytes.PropertyChange{adbytes.IDOf("userCertificate"): want}, all); d != "" {
		t.Error(d)
	}
	if all, err := adbytes.ReadMetadata(metadata(36, 1, 1<<63)); err != nil || !all[36].At.IsZero() {
		t.Errorf("a time that cannot be: %v %v", all, err)
	}
	if _, err := adbytes.ReadMetadata(metadata(36, 1, 1)[:60]); !errors.Is(err, adbytes.ErrMalformed) {
		t.Error(err)
	}
}

func TestMappingStrength(t *testing.T) {
	for value, want := range map[string]string{
		"X509:<I>DC=test,CN=ca<SR>2b00": "strong", "X509:<SKI>aa": "strong", "x509:<sha1-pukey>aa": "strong",
		"X509:<I>DC=test,CN=ca<S>CN=svc1": "weak", "X509:<S>CN=svc1": "weak", "X509:<RFC822>svc1@lab.test": "weak", "X509:": "weak",
		"Kerberos:svc1@lab.test": "", "": "",
	} {
		if got := adbytes.MappingStrength(value); got != want {
			t.Errorf("%q is %q, want %q", value, got, want)
		}
	}
}

func TestUnicodePwd(t *testing.T) {
	t.Parallel()
	for password, want := range map[string]string{"a1": "\"\x00a\x001\x00\"\x00", "ö𝄞": "\"\x00\xf6\x004\xd8\x1e\xdd\"\x00", "": "\"\x00\"\x00"} {
		if d := cmp.Diff([]byte(want), []byte(adbytes.UnicodePwd(password))); d != "" {
			t.Errorf("%q:\n%s", password, d)
		}
	}
}
