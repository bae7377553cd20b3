package scim

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"

	"scimbox/storage"
)

// A password is kept only as a hash, in a record of its own, so that no query, projection, journal row or export of a
// resource can meet it (RFC 7643 section 9.2).

// secretKind is the kind of the records that hold hashes; their id is "<kind>/<id>" of the resource. No resource type can have
// a name that begins with a dollar sign.
const secretKind = "$password"

func secretID(ref storage.Ref) string { return ref.Kind + "/" + ref.ID }

// passwordCost is bcrypt's cost. A directory is filled with thousands of users at a time, each of which pays it.
const passwordCost = 10

// takeSecret takes the password out of what a client sent and returns its hash, nil if there was none.
func (s *Service) takeSecret(t *ResourceType, o *Object) ([]byte, error) {
	for _, a := range t.root.Sub {
		if !a.secret() {
			continue
		}
		v := o.Get(a)
		o.Set(a, Value{})
		if v.kind == text && v.text != "" {
			return s.hashSecret(a, v)
		}
	}
	return nil, nil
}

// takeSecretOps takes operations on the password out of a PATCH. forget says that the last one removes it.
func (s *Service) takeSecretOps(ops []patchOp) (hash []byte, forget bool, rest []patchOp, err error) {
	rest = slices.DeleteFunc(ops, func(op patchOp) bool {
		if err != nil || op.path.Attr == nil || !op.path.Attr.secret() {
			return false
		}
		hash, forget = nil, true
		if op.kind != opRemove && op.value.kind == text && op.value.text != "" {
			forget = false
			hash, err = s.hashSecret(op.path.Attr, op.value)
		}
		return true
	})
	return hash, forget, rest, err
}

func (s *Service) hashSecret(a *Attribute, v Value) ([]byte, error) {
	if s.o.Password == "refuse" {
		return nil, bad(InvalidValue, `this server keeps no passwords, so that it takes none; leave %q out of the mapping ([scim] password = "hash" keeps a hash)`, a.Name)
	}
	// bcrypt reads 72 bytes and no more: a digest first lets every byte count. RFC 7644 section 5 asks for one Unicode form.
	sum := sha256.Sum256([]byte(norm.NFC.String(v.text)))
	hash, err := bcrypt.GenerateFromPassword([]byte(base64.RawStdEncoding.EncodeToString(sum[:])), passwordCost)
	if err != nil {
		return nil, fmt.Errorf("hashing a password: %w", err)
	}
	return hash, nil
}

func putSecret(tx *storage.Tx, ref storage.Ref, stamp storage.Stamp, hash []byte) error {
	return tx.Put(storage.Record{
		Ref:   storage.Ref{Tenant: ref.Tenant, Kind: secretKind, ID: secretID(ref)},
		Stamp: stamp, Body: hash,
	})
}

func hasSecret(tx *storage.Tx, ref storage.Ref) (bool, error) {
	return tx.Has(secretKind, secretID(ref))
}

func deleteSecret(tx *storage.Tx, ref storage.Ref) error {
	err := tx.Delete(secretKind, secretID(ref))
	if isNotFound(err) {
		return nil
	}
	return err
}
