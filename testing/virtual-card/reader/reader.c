/* The driver of the virtual reader, which pcscd loads: one reader with one slot, whose card is at the other end of a
 * Unix socket (DEVICENAME in pcscd's configuration).
 *
 * Owns: the socket. Refuses to know: what a card is; every byte of an APDU goes through as it is.
 *
 * On the socket it speaks the protocol of vsmartcard's vpcd: a message is its length in 2 bytes, big-endian, and as
 * many bytes. One byte is a control command, of which only GET_ATR is answered; more bytes are an APDU. An answer
 * without bytes says that there is no card in the slot.
 *
 * Why it is here: vpcd itself (3.3) listens on all interfaces, on two ports that follow each other. Told to connect
 * instead, it takes pcscd down (SIGABRT) when the card is pulled.
 *
 * Invariant: after a failed exchange the socket is not used again, so an answer is never taken for another's. */

#define _GNU_SOURCE /* struct timeval and sockets under -std=c11 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* From ifdhandler.h and wintypes.h of pcsc-lite on Linux, so that its development package is not needed. */
typedef unsigned long DWORD;
typedef long RESPONSECODE;
typedef struct {
    DWORD Protocol;
    DWORD Length;
} SCARD_IO_HEADER;
enum {
    MAX_ATR_SIZE = 33,
    TAG_IFD_ATR = 0x0303,
    TAG_IFD_SLOTS_NUMBER = 0x0FAE,
    TAG_IFD_SIMULTANEOUS_ACCESS = 0x0FAF,
    IFD_POWER_UP = 500,
    IFD_POWER_DOWN = 501,
    IFD_RESET = 502,
    IFD_SUCCESS = 0,
    IFD_ERROR_TAG = 600,
    IFD_ERROR_POWER_ACTION = 608,
    IFD_COMMUNICATION_ERROR = 612,
    IFD_NOT_SUPPORTED = 614,
    IFD_ICC_PRESENT = 615,
    IFD_ICC_NOT_PRESENT = 616,
    IFD_ERROR_INSUFFICIENT_BUFFER = 618,
};
#define EXPORTED __attribute__((visibility("default")))

enum { POWER_OFF = 0, POWER_ON = 1, RESET = 2, GET_ATR = 4 };

/* Long enough for a card to make an RSA key without optimization on a loaded machine. */
enum { ANSWER_SECONDS = 120 };

static int card = -1;

static void hang_up(void) {
    if (card >= 0) close(card);
    card = -1;
}

static int send_all(const uint8_t *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(card, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return -1;
        bytes += sent;
        length -= (size_t)sent;
    }
    return 0;
}

static int receive_all(uint8_t *bytes, size_t length) {
    while (length > 0) {
        ssize_t received = recv(card, bytes, length, 0);
        if (received < 0 && errno == EINTR) continue;
        if (received <= 0) return -1;
        bytes += received;
        length -= (size_t)received;
    }
    return 0;
}

static int send_message(const uint8_t *message, size_t length) {
    uint8_t header[2] = {(uint8_t)(length >> 8), (uint8_t)length};
    if (card < 0 || length > 0xFFFF || send_all(header, sizeof header) || send_all(message, length)) {
        hang_up();
        return -1;
    }
    return 0;
}

static int send_control(uint8_t command) { return send_message(&command, 1); }

/* Puts the length of the answer where *length said how much room there is. */
static RESPONSECODE receive_answer(uint8_t *answer, DWORD *length) {
    uint8_t header[2];
    if (card < 0 || receive_all(header, sizeof header)) {
        hang_up();
        return IFD_COMMUNICATION_ERROR;
    }
    size_t announced = (size_t)header[0] << 8 | header[1];
    if (announced > *length) {
        hang_up();
        return IFD_ERROR_INSUFFICIENT_BUFFER;
    }
    if (receive_all(answer, announced)) {
        hang_up();
        return IFD_COMMUNICATION_ERROR;
    }
    *length = announced;
    return announced == 0 ? IFD_ICC_NOT_PRESENT : IFD_SUCCESS;
}

static RESPONSECODE get_atr(uint8_t *atr, DWORD *length) {
    return send_control(GET_ATR) ? IFD_COMMUNICATION_ERROR : receive_answer(atr, length);
}

EXPORTED RESPONSECODE IFDHCreateChannelByName(DWORD lun, char *device) {
    (void)lun;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = ANSWER_SECONDS};
    if (card >= 0 || strlen(device) >= sizeof address.sun_path) return IFD_COMMUNICATION_ERROR;
    strcpy(address.sun_path, device);
    card = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (card < 0) return IFD_COMMUNICATION_ERROR;
    if (setsockopt(card, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) ||
        connect(card, (struct sockaddr *)&address, sizeof address)) {
        hang_up();
        return IFD_COMMUNICATION_ERROR;
    }
    return IFD_SUCCESS;
}

EXPORTED RESPONSECODE IFDHCreateChannel(DWORD lun, DWORD channel) {
    (void)lun, (void)channel;
    return IFD_NOT_SUPPORTED; /* the configuration names a socket */
}

EXPORTED RESPONSECODE IFDHCloseChannel(DWORD lun) {
    (void)lun;
    hang_up();
    return IFD_SUCCESS;
}

EXPORTED RESPONSECODE IFDHGetCapabilities(DWORD lun, DWORD tag, DWORD *length, uint8_t *value) {
    (void)lun;
    switch (tag) {
    case TAG_IFD_ATR:
        return get_atr(value, length);
    case TAG_IFD_SLOTS_NUMBER:
    case TAG_IFD_SIMULTANEOUS_ACCESS:
        if (*length < 1) return IFD_ERROR_INSUFFICIENT_BUFFER;
        *length = 1;
        *value = 1;
        return IFD_SUCCESS;
    default:
        return IFD_ERROR_TAG;
    }
}

EXPORTED RESPONSECODE IFDHSetCapabilities(DWORD lun, DWORD tag, DWORD length, uint8_t *value) {
    (void)lun, (void)tag, (void)length, (void)value;
    return IFD_NOT_SUPPORTED;
}

EXPORTED RESPONSECODE IFDHSetProtocolParameters(DWORD lun, DWORD protocol, uint8_t flags, uint8_t pts1, uint8_t pts2,
                                                uint8_t pts3) {
    (void)lun, (void)protocol, (void)flags, (void)pts1, (void)pts2, (void)pts3;
    return IFD_SUCCESS; /* there is no wire whose speed would matter */
}

EXPORTED RESPONSECODE IFDHPowerICC(DWORD lun, DWORD action, uint8_t *atr, DWORD *length) {
    (void)lun;
    DWORD room = *length < MAX_ATR_SIZE ? *length : MAX_ATR_SIZE;
    *length = 0;
    switch (action) {
    case IFD_POWER_DOWN:
        return send_control(POWER_OFF) ? IFD_ERROR_POWER_ACTION : IFD_SUCCESS;
    case IFD_POWER_UP:
    case IFD_RESET:
        if (send_control(action == IFD_RESET ? RESET : POWER_ON) || get_atr(atr, &room)) return IFD_ERROR_POWER_ACTION;
        *length = room;
        return IFD_SUCCESS;
    default:
        return IFD_NOT_SUPPORTED;
    }
}

EXPORTED RESPONSECODE IFDHTransmitToICC(DWORD lun, SCARD_IO_HEADER sent, uint8_t *command, DWORD command_length,
                                        uint8_t *answer, DWORD *answer_length, SCARD_IO_HEADER *received) {
    (void)lun;
    RESPONSECODE result = IFD_COMMUNICATION_ERROR;
    /* A single byte would be a control command. */
    if (command_length > 1 && !send_message(command, command_length)) result = receive_answer(answer, answer_length);
    if (result != IFD_SUCCESS) *answer_length = 0;
    if (received) *received = sent;
    return result;
}

EXPORTED RESPONSECODE IFDHControl(DWORD lun, DWORD code, uint8_t *command, DWORD command_length, uint8_t *answer,
                                  DWORD room, DWORD *answer_length) {
    (void)lun, (void)code, (void)command, (void)command_length, (void)answer, (void)room;
    if (answer_length) *answer_length = 0;
    return IFD_NOT_SUPPORTED; /* no PIN pad, no display */
}

EXPORTED RESPONSECODE IFDHICCPresence(DWORD lun) {
    (void)lun;
    uint8_t atr[MAX_ATR_SIZE];
    DWORD length = sizeof atr;
    return get_atr(atr, &length) == IFD_SUCCESS ? IFD_ICC_PRESENT : IFD_ICC_NOT_PRESENT;
}
