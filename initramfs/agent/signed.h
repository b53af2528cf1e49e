/* Signatures of the boot server. */
#ifndef SIGNED_H
#define SIGNED_H

/* Check the RSA signature (PKCS#1 v1.5) in the file `signature` of what has the SHA-256 `hex`, by the
 * key of the X.509 certificate in the file `certificate`, in DER. Return OK, REFUSED if it is wrong,
 * or another exit code if it cannot be checked. */
int verify_signature(const char *certificate, const char *signature, const char *hex);

#endif
