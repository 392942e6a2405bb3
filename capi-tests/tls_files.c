/*
 * Certificates, keys, passwords, DH parameters and lists of ciphers in all forms that hosts have: does the server
 * start with them, and what does the openssl program as a client say to it, with TLS 1.3 and 1.2?
 *
 *   tls_files DIR       DIR was made by tests/tls/pki.sh; client.log is written there
 *
 * Runs on both libraries. Why a case fails is said on standard error.
 */
#include "host/host.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct form {
    const char *name, *ca, *chain, *key, *password, *dh, *ciphers;
};

#define CA "ca-cert.pem"

static const struct form forms[] = {
    /* kinds of keys */
    { "RSA-2048", CA, "rsa2048.crt", "rsa2048.key", 0, 0, 0 },
    { "RSA-3072", CA, "rsa3072.crt", "rsa3072.key", 0, 0, 0 },
    { "RSA-1024, PKCS#8", CA, "rsa1024.crt", "rsa1024.key", 0, 0, 0 },
    { "RSA-1024, PKCS#1", CA, "rsa1024.crt", "rsa1024.pkcs1.key", 0, 0, 0 },
    { "RSA-1024, level 0", CA, "rsa1024.crt", "rsa1024.key", 0, 0, "DEFAULT@SECLEVEL=0" },
    { "P-256", CA, "p256.crt", "p256.key", 0, 0, 0 },
    { "P-384", CA, "p384.crt", "p384.key", 0, 0, 0 },
    { "P-521", CA, "p521.crt", "p521.key", 0, 0, 0 },
    { "Ed25519", CA, "ed25519.crt", "ed25519.key", 0, 0, 0 },
    /* forms of keys */
    { "PKCS#1", CA, "rsa2048.crt", "rsa2048.pkcs1.key", 0, 0, 0 },
    { "SEC 1", CA, "p256.crt", "p256.sec1.key", 0, 0, 0 },
    { "SEC 1 behind its parameters", CA, "p256.crt", "p256.parameters.key", 0, 0, 0 },
    { "SEC 1, lines of DOS", CA, "p256.crt", "p256.dos.key", 0, 0, 0 },
    { "traditional AES-128", CA, "rsa2048.crt", "rsa2048.traditional-aes128.key", "secret", 0, 0 },
    { "traditional AES-192", CA, "rsa2048.crt", "rsa2048.traditional-aes192.key", "secret", 0, 0 },
    { "traditional AES-256", CA, "rsa2048.crt", "rsa2048.traditional-aes256.key", "secret", 0, 0 },
    { "traditional 3DES", CA, "rsa2048.crt", "rsa2048.traditional-des3.key", "secret", 0, 0 },
    { "traditional SEC 1", CA, "p256.crt", "p256.traditional.key", "secret", 0, 0 },
    { "PBES2 AES-128", CA, "rsa2048.crt", "rsa2048.pbes2-aes128.key", "secret", 0, 0 },
    { "PBES2 AES-192", CA, "rsa2048.crt", "rsa2048.pbes2-aes192.key", "secret", 0, 0 },
    { "PBES2 AES-256", CA, "rsa2048.crt", "rsa2048.pbes2-aes256.key", "secret", 0, 0 },
    { "PBES2 3DES", CA, "rsa2048.crt", "rsa2048.pbes2-des3.key", "secret", 0, 0 },
    { "PBES2 with SHA-1", CA, "p256.crt", "p256.pbes2-sha1.key", "secret", 0, 0 },
    { "PBES2 with scrypt", CA, "p256.crt", "p256.scrypt.key", "secret", 0, 0 },
    { "PBES1", CA, "p256.crt", "p256.pbes1.key", "secret", 0, 0 },
    { "password for a plain key", CA, "p256.crt", "p256.key", "secret", 0, 0 },
    { "wrong password, traditional", CA, "rsa2048.crt", "rsa2048.traditional-aes256.key", "Secret", 0, 0 },
    { "wrong password, PBES2", CA, "rsa2048.crt", "rsa2048.pbes2-aes256.key", "Secret", 0, 0 },
    { "empty password", CA, "rsa2048.crt", "rsa2048.pbes2-aes256.key", "", 0, 0 },
    /* forms of certificates */
    { "chain", CA, "chain.crt", "leaf.key", 0, 0, 0 },
    { "chain without its middle", CA, "leaf.crt", "leaf.key", 0, 0, 0 },
    { "expired", CA, "expired.crt", "expired.key", 0, 0, 0 },
    { "version 1, SHA-1", CA, "old.crt", "old.key", 0, 0, 0 },
    { "with text", CA, "text.crt", "p256.key", 0, 0, 0 },
    { "trusted", CA, "trusted.crt", "p256.key", 0, 0, 0 },
    { "lines of DOS", CA, "dos.crt", "p256.key", 0, 0, 0 },
    { "all in one file", CA, "both.pem", "both.pem", 0, 0, 0 },
    { "another authority", "other-ca.pem", "p256.crt", "p256.key", 0, 0, 0 },
    /* what does not fit */
    { "key of another certificate", CA, "rsa2048.crt", "rsa3072.key", 0, 0, 0 },
    { "key of another kind", CA, "rsa2048.crt", "p256.key", 0, 0, 0 },
    { "no authority", "nowhere.pem", "p256.crt", "p256.key", 0, 0, 0 },
    { "no certificate", CA, "nowhere.pem", "p256.key", 0, 0, 0 },
    { "no key", CA, "p256.crt", "nowhere.pem", 0, 0, 0 },
    { "empty authority", "empty.pem", "p256.crt", "p256.key", 0, 0, 0 },
    { "empty certificate", CA, "empty.pem", "p256.key", 0, 0, 0 },
    { "empty key", CA, "p256.crt", "empty.pem", 0, 0, 0 },
    { "half a certificate", CA, "half.crt", "p256.key", 0, 0, 0 },
    { "damaged certificate", CA, "damaged.crt", "p256.key", 0, 0, 0 },
    { "nonsense in a certificate", CA, "nonsense.crt", "p256.key", 0, 0, 0 },
    { "a key for a certificate", CA, "p256.key", "p256.key", 0, 0, 0 },
    { "a certificate for a key", CA, "p256.crt", "p256.crt", 0, 0, 0 },
    /* Diffie-Hellman */
    { "DH parameters", CA, "rsa2048.crt", "rsa2048.key", 0, "dh.pem", 0 },
    { "no DH file", CA, "rsa2048.crt", "rsa2048.key", 0, "nowhere.pem", 0 },
    { "a certificate for DH", CA, "rsa2048.crt", "rsa2048.key", 0, "rsa2048.crt", 0 },
    /* ciphers */
    { "HIGH:!aNULL", CA, "rsa2048.crt", "rsa2048.key", 0, 0, "HIGH:!aNULL" },
    { "one cipher", CA, "rsa2048.crt", "rsa2048.key", 0, 0, "ECDHE-RSA-AES128-GCM-SHA256" },
    { "some known", CA, "rsa2048.crt", "rsa2048.key", 0, 0, "NONSENSE:ECDHE-RSA-CHACHA20-POLY1305" },
    { "for the other kind of key", CA, "rsa2048.crt", "rsa2048.key", 0, 0, "ECDHE-ECDSA-AES128-GCM-SHA256" },
    { "cipher without ECDHE", CA, "rsa2048.crt", "rsa2048.key", 0, 0, "AES256-GCM-SHA384" },
    { "TLS 1.3 by name", CA, "rsa2048.crt", "rsa2048.key", 0, 0, "TLS_AES_128_GCM_SHA256" },
    { "no known cipher", CA, "rsa2048.crt", "rsa2048.key", 0, 0, "NONSENSE" },
    { "no cipher", CA, "rsa2048.crt", "rsa2048.key", 0, 0, "" },
    { "unknown level", CA, "rsa2048.crt", "rsa2048.key", 0, 0, "DEFAULT:@SECLEVEL=9" },
};

static const char *directory;

static const char *in_directory(const char *file, char *space, size_t size)
{
    if (!file)
        return NULL;
    snprintf(space, size, "%s/%s", directory, file);
    return space;
}

/* A port that was free a moment ago. */
static int free_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&address, length) || getsockname(fd, (struct sockaddr *)&address, &length))
        exit(70);
    close(fd);
    return ntohs(address.sin_port);
}

/* The value of a line of client.log that begins with `label`. */
static void show(const char *label, const char *file)
{
    char line[512];
    FILE *log = fopen(file, "r");

    while (log && fgets(line, sizeof(line), log)) {
        if (!strncmp(line, label, strlen(label)))
            printf(", %.*s", (int)strcspn(line + strlen(label), "\n"), line + strlen(label));
    }
    if (log)
        fclose(log);
}

static void connect_client(int port, const char *version)
{
    char ca[4096], log[4096], where[32];
    int status;
    pid_t client;

    in_directory(CA, ca, sizeof(ca));
    in_directory("client.log", log, sizeof(log));
    snprintf(where, sizeof(where), "127.0.0.1:%d", port);
    client = fork();
    if (client == 0) {
        int null = open("/dev/null", O_RDONLY), out = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);

        dup2(null, 0);
        dup2(out, 1);
        dup2(out, 2);
        unsetenv("LD_LIBRARY_PATH");
        execlp("openssl", "openssl", "s_client", "-brief", version, "-connect", where, "-CAfile", ca, "-cipher",
               "DEFAULT:@SECLEVEL=0", (char *)NULL);
        _exit(127);
    }
    /* The original does its handshakes here. */
    while (waitpid(client, &status, WNOHANG) == 0)
        core_loop_step(5);
    printf("; %s: client ends with %d", version + 1, WEXITSTATUS(status));
    show("Protocol version: ", log);
    show("Ciphersuite: ", log);
    show("Verification: ", log);
    show("Verification error: ", log);
}

static void try_form(SpiceCoreInterface *core, const struct form *form)
{
    char ca[4096], chain[4096], key[4096], dh[4096];
    SpiceServer *s = spice_server_new();
    int port = free_port(), set, init;

    set = spice_server_set_tls(s, port, in_directory(form->ca, ca, sizeof(ca)),
                               in_directory(form->chain, chain, sizeof(chain)),
                               in_directory(form->key, key, sizeof(key)), form->password,
                               in_directory(form->dh, dh, sizeof(dh)), form->ciphers);
    spice_server_set_addr(s, "127.0.0.1", 0);
    spice_server_set_noauth(s);
    fflush(stdout);
    fprintf(stderr, "%s:\n", form->name);
    init = spice_server_init(s, core);
    printf("%s: set_tls %d, init %d", form->name, set, init);
    fflush(stdout);
    if (init == 0) {
        connect_client(port, "-tls1_3");
        connect_client(port, "-tls1_2");
    }
    printf("\n");
    spice_server_destroy(s);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: tls_files DIR\n");
        return 2;
    }
    directory = argv[1];
    SpiceCoreInterface *core = core_loop_start();
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        try_form(core, &forms[i]);
    return 0;
}
