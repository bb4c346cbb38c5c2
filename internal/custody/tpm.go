// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/tallystick/tallystick"
)

// A TPM is a wrapping key that is sealed by a TPM 2.0: what stands beside the
// secrets is of use with this one chip alone. The key is unsealed when it is first
// needed, and in memory from then on. It is sealed to the chip and not to what was
// booted, so that an update of the system does not lock it away.
type TPM struct {
	*local
	device string

	mu       sync.Mutex
	identity Identity // under mu: the first use gives it its parameters
	sealed   sealedKey
}

// A sealedKey is what stands in the parameters.
type sealedKey struct {
	ID      string `json:"id"`
	Parent  string `json:"parent"`
	Public  []byte `json:"public,omitempty"`  // TPM2B_PUBLIC
	Private []byte `json:"private,omitempty"` // TPM2B_PRIVATE
}

// The storage keys under which it is sealed.
const (
	ParentECC = "ecc" // the primary key of the owner's hierarchy, TCG's template for P-256
	ParentRSA = "rsa" // likewise for RSA 2048
)

// maxSealed bounds what a TPM gives back for a sealed object, in bytes.
const maxSealed = 4 << 10

// NewTPM returns a wrapping key that a TPM holds: device is /dev/tpmrm0 or the unix
// socket of an emulator. parameters are those on record; "" begins a new key, which
// is sealed when it is first needed, under parent: ParentECC, ParentRSA, or the
// handle of a persistent storage key such as 0x81000001.
func NewTPM(device, parent, parameters string) (*TPM, error) {
	t := &TPM{device: device}
	if parameters != "" {
		var err error
		if t.sealed, err = parseSealed(parameters); err != nil {
			return nil, err
		}
	} else {
		id := make([]byte, 16)
		rand.Read(id) // it never fails
		t.sealed = sealedKey{ID: hex.EncodeToString(id), Parent: parent}
		if _, err := parentHandle(parent); err != nil {
			return nil, fmt.Errorf("%w: parent: %w", tallystick.ErrInvalid, err)
		}
	}
	t.identity = Identity{ID: "tpm:" + t.sealed.ID, Kind: KindTPM, About: "the TPM at " + device, Parameters: parameters}
	t.local = &local{fetch: t.fetch}
	return t, nil
}

// parseSealed reads parameters; anything else is ErrDamaged.
func parseSealed(text string) (sealedKey, error) {
	var s sealedKey
	if len(text) > 4*maxSealed || json.Unmarshal([]byte(text), &s) != nil || len(s.Public) > maxSealed || len(s.Private) > maxSealed {
		return s, fmt.Errorf("%w: the parameters of the wrapping key are not those of a TPM", tallystick.ErrDamaged)
	}
	id, err := hex.DecodeString(s.ID)
	if err != nil || len(id) != 16 || strings.ToLower(s.ID) != s.ID {
		return s, fmt.Errorf("%w: the parameters of the wrapping key name none", tallystick.ErrDamaged)
	}
	if _, err := parentHandle(s.Parent); err != nil {
		return s, fmt.Errorf("%w: the parameters of the wrapping key: %w", tallystick.ErrDamaged, err)
	}
	if _, err := tpm2.Unmarshal[tpm2.TPM2BPublic](s.Public); err != nil || len(s.Public) == 0 {
		return s, fmt.Errorf("%w: the sealed key has no public part", tallystick.ErrDamaged)
	}
	if _, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](s.Private); err != nil || len(s.Private) == 0 {
		return s, fmt.Errorf("%w: the sealed key has no private part", tallystick.ErrDamaged)
	}
	return s, nil
}

// parentHandle returns the handle of a persistent parent; 0 of a primary key.
func parentHandle(parent string) (tpm2.TPMHandle, error) {
	if parent == ParentECC || parent == ParentRSA {
		return 0, nil
	}
	digits, hexadecimal := strings.CutPrefix(parent, "0x")
	handle, err := strconv.ParseUint(digits, 16, 32)
	// TPM 2.0 Library Part 2 section 7.4: persistent objects are 81xxxxxx.
	if err != nil || !hexadecimal || handle>>24 != 0x81 {
		return 0, fmt.Errorf("%q is not ecc, rsa, or a handle such as 0x81000001", parent)
	}
	return tpm2.TPMHandle(handle), nil
}

// Identity implements Wrapper.
func (t *TPM) Identity() Identity {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.identity
}

// fetch unseals the key, or makes it and seals it.
func (t *TPM) fetch(context.Context) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var key []byte
	err := t.inTPM(func(c transport.TPM, p parent) (err error) {
		if len(t.sealed.Private) > 0 {
			key, err = p.unseal(c, t.sealed)
			return err
		}
		key = make([]byte, keySize)
		rand.Read(key) // it never fails
		next, err := p.seal(c, t.sealed, key)
		if err != nil {
			return err
		}
		text, err := json.Marshal(next)
		if err != nil {
			return err
		}
		t.sealed, t.identity.Parameters = next, string(text)
		return nil
	})
	if err != nil {
		clear(key)
		return nil, fmt.Errorf("couldn't use the TPM at %s: %w", t.device, err)
	}
	return key, nil
}

// inTPM calls fn with a connection to the TPM and the storage key.
func (t *TPM) inTPM(fn func(transport.TPM, parent) error) (err error) {
	c, err := openTPM(t.device)
	if err != nil {
		return fmt.Errorf("%w: %w", tallystick.ErrUnavailable, err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	p, flush, err := findParent(c, t.sealed.Parent)
	if err != nil {
		return kindOfTPM(err)
	}
	return errors.Join(kindOfTPM(fn(c, p)), kindOfTPM(flush()))
}

// openTPM opens a device, or the socket of an emulator.
func openTPM(device string) (transport.TPMCloser, error) {
	info, err := os.Stat(device)
	if err != nil {
		return nil, err
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return linuxudstpm.Open(device)
	}
	return linuxtpm.Open(device)
}

// kindOfTPM gives an error of a TPM its kind: what the chip finds wrong with what it
// was given was changed or is another chip's, and everything else may pass.
func kindOfTPM(err error) error {
	if err == nil || errors.Is(err, tallystick.ErrDamaged) {
		return err
	}
	if _, ok := errors.AsType[tpm2.TPMFmt1Error](err); ok {
		return fmt.Errorf("%w: it was sealed by another TPM, or was changed: %w", tallystick.ErrDamaged, err)
	}
	return fmt.Errorf("%w: %w", tallystick.ErrUnavailable, err)
}

// A parent is the storage key that a key is sealed under.
type parent struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public tpm2.TPMTPublic
}

// findParent returns the storage key, and what puts it out of the chip again.
func findParent(c transport.TPM, which string) (parent, func() error, error) {
	handle, err := parentHandle(which)
	if err != nil {
		return parent{}, nil, err
	}
	if handle != 0 {
		found, err := tpm2.ReadPublic{ObjectHandle: handle}.Execute(c)
		if err != nil {
			return parent{}, nil, fmt.Errorf("couldn't find the key %s: %w", which, err)
		}
		public, err := found.OutPublic.Contents()
		if err != nil {
			return parent{}, nil, err
		}
		return parent{handle, found.Name, *public}, func() error { return nil }, nil
	}
	template := tpm2.ECCSRKTemplate
	if which == ParentRSA {
		template = tpm2.RSASRKTemplate
	}
	made, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template)}.Execute(c)
	if err != nil {
		return parent{}, nil, fmt.Errorf("couldn't make the storage key: %w", err)
	}
	flush := flusher(c, made.ObjectHandle)
	public, err := made.OutPublic.Contents()
	if err != nil {
		return parent{}, nil, errors.Join(err, flush())
	}
	return parent{made.ObjectHandle, made.Name, *public}, flush, nil
}

func flusher(c transport.TPM, handle tpm2.TPMHandle) func() error {
	return func() error {
		_, err := tpm2.FlushContext{FlushHandle: handle}.Execute(c)
		return err
	}
}

// session is one whose secret only the chip can read, so that what crosses the bus
// is encrypted (TPM 2.0 Library Part 1 section 21).
func (p parent) session(encrypt tpm2.AuthOption) tpm2.Session {
	return tpm2.HMAC(tpm2.TPMAlgSHA256, 16, encrypt, tpm2.Salted(p.handle, p.public))
}

// seal has the chip encrypt a key so that only it can decrypt it.
func (p parent) seal(c transport.TPM, s sealedKey, key []byte) (sealedKey, error) {
	made, err := tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: p.handle, Name: p.name, Auth: p.session(tpm2.AESEncryption(128, tpm2.EncryptIn))},
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: key}),
		}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, UserWithAuth: true, NoDA: true},
		}),
	}.Execute(c)
	if err != nil {
		return s, fmt.Errorf("couldn't seal a key: %w", err)
	}
	s.Public, s.Private = tpm2.Marshal(made.OutPublic), tpm2.Marshal(made.OutPrivate)
	return s, nil
}

// unseal undoes seal.
func (p parent) unseal(c transport.TPM, s sealedKey) (key []byte, err error) {
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](s.Public)
	if err != nil {
		return nil, fmt.Errorf("%w: the sealed key: %w", tallystick.ErrDamaged, err)
	}
	private, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](s.Private)
	if err != nil {
		return nil, fmt.Errorf("%w: the sealed key: %w", tallystick.ErrDamaged, err)
	}
	loaded, err := tpm2.Load{
		ParentHandle: tpm2.AuthHandle{Handle: p.handle, Name: p.name, Auth: p.session(tpm2.AESEncryption(128, tpm2.EncryptIn))},
		InPrivate:    *private, InPublic: *public,
	}.Execute(c)
	if err != nil {
		return nil, fmt.Errorf("couldn't load the sealed key: %w", err)
	}
	defer func() { err = errors.Join(err, flusher(c, loaded.ObjectHandle)()) }()
	opened, err := tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: loaded.ObjectHandle, Name: loaded.Name, Auth: p.session(tpm2.AESEncryption(128, tpm2.EncryptOut))}}.Execute(c)
	if err != nil {
		return nil, fmt.Errorf("couldn't unseal the key: %w", err)
	}
	return opened.OutData.Buffer, nil
}
