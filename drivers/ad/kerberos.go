// SPDX-License-Identifier: Apache-2.0

package ad

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"time"
	"unicode"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/msgtype"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/iana/patype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/ldapdir"
)

// protocolKerberos is the protocol of listeners that are KDCs.
const protocolKerberos = "kerberos"

// A kdc lets people in by the AS exchange (RFC 4120 section 3.1), over TCP. The exchange of the
// library's own client is not used: it takes answers of any length, knows no context, and goes
// where a KDC sends it.
type kdc struct {
	address string // host:port
	realm   string
	timeout time.Duration
}

// enter tries a password once. A right one is shown by an answer that it decrypts. A wrong one is
// told by an error that nobody has signed (section 5.9.1): whoever sits between can say it too, so
// that a refusal proves nothing by itself.
//
// What is sent is a proof that a password can be guessed from. That does not matter for one that is
// made at random. One that people may have made up is guessable: it is tried with keys of AES alone, of no
// fewer iterations than Active Directory has. Whoever sits between, or pretends to be the KDC, can
// still guess at that much cost, as at every sign-in by Kerberos without armour (RFC 6113), which is
// not spoken here; the option kdc leaves Kerberos out.
func (k kdc) enter(ctx context.Context, user string, password driver.Secret, guessable bool, now func() time.Time) driver.Attempt {
	attempt := driver.Attempt{
		Listener: k.listener(), Address: k.address, Way: driver.WayFresh, Outcome: driver.OutcomeFailed, At: now().UTC(),
	}
	address, err := k.exchange(ctx, user, password, guessable)
	if address != "" {
		attempt.Address = address
	}
	var said messages.KRBError
	switch {
	case err == nil:
		attempt.Outcome = driver.OutcomeAccepted
		return attempt
	case errors.As(err, &said) && said.ErrorCode == errorcode.KDC_ERR_PREAUTH_FAILED:
		attempt.Outcome = driver.OutcomeRefused
	case errors.As(err, &said) && said.ErrorCode == errorcode.KDC_ERR_ETYPE_NOSUPP && guessable:
		err = errWeak
	}
	attempt.Answer = ldapdir.Printable(err.Error())
	return attempt
}

func (k kdc) listener() driver.Listener {
	return driver.Listener{Address: k.address, Protocol: protocolKerberos, Details: map[string]string{"realm": k.realm}}
}

// exchange asks for a ticket: first without a proof, to hear how keys are made of passwords.
func (k kdc) exchange(ctx context.Context, user string, password driver.Secret, guessable bool) (address string, err error) {
	request, err := k.request(user, guessable)
	if err != nil {
		return "", err
	}
	answer, address, err := k.ask(ctx, request)
	if err != nil {
		return address, err
	}
	hints, err := hintsOf(answer)
	if err != nil {
		return address, err
	}
	key, err := keyOf(password.Reveal(), hints, guessable)
	if err != nil {
		return address, err
	}
	if err := prove(&request, key); err != nil {
		return address, err
	}
	if answer, address, err = k.ask(ctx, request); err != nil {
		return address, err
	}
	return address, opened(answer, key, request.ReqBody.Nonce)
}

// request is one for a ticket to ask for tickets with, good for minutes and without the list of
// groups: nobody uses it.
func (k kdc) request(user string, guessable bool) (messages.ASReq, error) {
	nonce, err := rand.Int(rand.Reader, big.NewInt(1<<31-1))
	if err != nil {
		return messages.ASReq{}, err
	}
	kinds := []int32{etypeID.AES256_CTS_HMAC_SHA1_96, etypeID.AES128_CTS_HMAC_SHA1_96}
	if !guessable {
		kinds = append(kinds, etypeID.RC4_HMAC)
	}
	return messages.ASReq{KDCReqFields: messages.KDCReqFields{
		PVNO: 5, MsgType: msgtype.KRB_AS_REQ,
		// KERB-PA-PAC-REQUEST of false ([MS-KILE] section 2.2.3).
		PAData: types.PADataSequence{{PADataType: patype.PA_PAC_REQUEST, PADataValue: []byte{0x30, 5, 0xa0, 3, 1, 1, 0}}},
		ReqBody: messages.KDCReqBody{
			KDCOptions: types.NewKrbFlags(), Realm: k.realm, CName: types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, user),
			SName: types.NewPrincipalName(nametype.KRB_NT_SRV_INST, "krbtgt/"+k.realm), Till: time.Now().UTC().Add(5 * time.Minute).Truncate(time.Second),
			Nonce: int(nonce.Int64()),
			EType: kinds,
		},
	}}, nil
}

// maxTicket bounds an answer of a KDC, in bytes. Those of Windows have 64 KiB at most
// (MaxTokenSize), and a frame.
const maxTicket = 128 << 10

// ask sends one request on a connection of its own (RFC 4120 section 7.2.2).
func (k kdc) ask(ctx context.Context, request messages.ASReq) (answer []byte, address string, err error) {
	body, err := request.Marshal()
	if err != nil {
		return nil, "", fmt.Errorf("couldn't write the request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", k.address)
	if err != nil {
		return nil, "", fmt.Errorf("couldn't reach the KDC: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	address = conn.RemoteAddr().String()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		return nil, address, fmt.Errorf("couldn't ask the KDC: %w", err)
	}
	answer, err = readAnswer(conn)
	return answer, address, err
}

func readAnswer(from io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return nil, fmt.Errorf("couldn't read the answer of the KDC: %w", err)
	}
	length := binary.BigEndian.Uint32(head[:])
	if length > maxTicket {
		return nil, fmt.Errorf("the KDC sends an answer of %d bytes, more than any needs", length)
	}
	answer := make([]byte, length)
	if _, err := io.ReadFull(from, answer); err != nil {
		return nil, fmt.Errorf("couldn't read the answer of the KDC: %w", err)
	}
	return answer, nil
}

// hintsOf returns what a KDC says about keys: with the error that it wants a proof, or with a
// ticket for an account of which it wants none. Any other error of the KDC is returned.
func hintsOf(answer []byte) (types.PADataSequence, error) {
	var reply messages.ASRep
	err := reply.Unmarshal(answer)
	if err == nil {
		return reply.PAData, nil
	}
	var said messages.KRBError
	if !errors.As(err, &said) {
		return nil, errors.New("what answers is no KDC")
	}
	if said.ErrorCode != errorcode.KDC_ERR_PREAUTH_REQUIRED {
		return nil, said
	}
	var hints types.PADataSequence
	if err := hints.Unmarshal(said.EData); err != nil {
		return nil, errors.New("the KDC does not say how keys are made of passwords")
	}
	return hints, nil
}

// The iterations of making a key are set by a KDC; Active Directory says 4096. More than maxIterations
// would be work without bounds.
const (
	leastIterations = 4096
	maxIterations   = 1 << 20
)

// errWeak says that a password which may be guessed is not tried.
var errWeak = errors.New("not tried: the KDC names no keys of AES of 4096 iterations, and from any other proof an old password could be guessed: give the account keys of AES, or leave Kerberos out with the option kdc (none)")

// keyOf makes the key of a password, of the first kind that the KDC names and we know (section
// 5.2.7.5).
func keyOf(password string, hints types.PADataSequence, guessable bool) (types.EncryptionKey, error) {
	for _, hint := range hints {
		if hint.PADataType != patype.PA_ETYPE_INFO2 {
			continue
		}
		kinds, err := hint.GetETypeInfo2()
		if err != nil {
			continue
		}
		for _, kind := range kinds {
			switch kind.EType {
			case etypeID.RC4_HMAC:
				if !guessable {
					return keyOfKind(password, kind, guessable)
				}
			case etypeID.AES256_CTS_HMAC_SHA1_96, etypeID.AES128_CTS_HMAC_SHA1_96:
				return keyOfKind(password, kind, guessable)
			}
		}
	}
	if guessable {
		return types.EncryptionKey{}, errWeak
	}
	return types.EncryptionKey{}, errors.New("the KDC names no kind of key that is known here: AES with SHA-1, or RC4")
}

func keyOfKind(password string, kind types.ETypeInfo2Entry, guessable bool) (types.EncryptionKey, error) {
	etype, err := crypto.GetEtype(kind.EType)
	if err != nil {
		return types.EncryptionKey{}, err
	}
	parameters := etype.GetDefaultStringToKeyParams()
	if len(kind.S2KParams) == 4 {
		switch n := binary.BigEndian.Uint32(kind.S2KParams); {
		case n == 0 || n > maxIterations: // 0 is 2^32 (RFC 3962 section 4)
			return types.EncryptionKey{}, fmt.Errorf("the KDC asks for %d iterations to make a key", n)
		case guessable && n < leastIterations:
			return types.EncryptionKey{}, errWeak
		}
		parameters = hex.EncodeToString(kind.S2KParams)
	}
	if kind.EType == etypeID.RC4_HMAC && strings.ContainsFunc(password, func(r rune) bool { return r > unicode.MaxASCII }) {
		return types.EncryptionKey{}, errors.New("the account has keys of RC4 alone, which are made of no such password here")
	}
	value, err := etype.StringToKey(password, kind.Salt, parameters)
	return types.EncryptionKey{KeyType: kind.EType, KeyValue: value}, err
}

// prove adds the time in the key (section 5.2.7.2). It is that of this machine: the KDC compares it with its
// own.
func prove(request *messages.ASReq, key types.EncryptionKey) error {
	stamp, err := types.GetPAEncTSEncAsnMarshalled()
	if err != nil {
		return err
	}
	sealed, err := crypto.GetEncryptedData(stamp, key, keyusage.AS_REQ_PA_ENC_TIMESTAMP, 0)
	if err != nil {
		return err
	}
	value, err := sealed.Marshal()
	request.PAData = append(request.PAData, types.PAData{PADataType: patype.PA_ENC_TIMESTAMP, PADataValue: value})
	return err
}

// leastSealed is less than any sealed part of an answer has, and more than what the library looks for
// without counting.
const leastSealed = 64

// opened says whether an answer is a ticket that the key opens, for this request.
func opened(answer []byte, key types.EncryptionKey, nonce int) error {
	var reply messages.ASRep
	err := reply.Unmarshal(answer)
	var said messages.KRBError
	switch {
	case errors.As(err, &said):
		return said
	case err != nil:
		return errors.New("what answers is no KDC")
	case reply.EncPart.EType != key.KeyType || len(reply.EncPart.Cipher) < leastSealed:
		return errors.New("the KDC answers in another key than it has asked for")
	}
	text, err := crypto.DecryptEncPart(reply.EncPart, key, keyusage.AS_REP_ENCPART)
	if err != nil {
		return errors.New("the KDC answers in a key that is not of this password")
	}
	var part messages.EncKDCRepPart
	if err := part.Unmarshal(text); err != nil || part.Nonce != nonce {
		return errors.New("the KDC answers something else than was asked")
	}
	return nil
}
