/* Whatever comes to the DHCP client's sockets: packets, ARP, and servers that lie about times. The first
 * byte of an input: bit 0, the rest is one packet of a wire; else it is a talk, in which each turn is a byte
 * of time, a kind and the numbers of an answer. */
#include "world.h"

#include "dhcp.h"
#include "frame.h"
#include "renewal.h"

#include <string.h>

#define YEAR (365ll * 24 * 3600 * 1000)

static const uint8_t mac[MAC_BYTES] = {0x52, 0x54, 0, 0x77, 0, 1};
static const uint32_t address = 0x0500000a; /* 10.0.0.5, and 10.0.0.1 */
static const uint32_t server = 0x0100000a;

static void read_packet(const uint8_t *data, size_t size)
{
    uint8_t *packet = malloc(size ? size : 1), other[MAC_BYTES]; /* its end is where ASan sees it */
    struct answer answer;
    size_t length = 0;
    const uint8_t *message;

    memcpy(packet, data, size);
    message = frame_read(packet, size, &length);
    if (message) {
        expect(message >= packet && message + length <= packet + size, "a message in its packet");
        if (dhcp_read(message, length, &answer))
            expect(answer.kind == OFFER || answer.kind == ACK || answer.kind == NAK, "a server's kind");
    }
    if (dhcp_read(packet, size, &answer))
        expect(size >= 240, "a whole header");
    if (arp_read(packet, size, mac, address, other))
        expect(memcmp(other, mac, MAC_BYTES) != 0, "another card");
    free(packet);
}

/* What is written is read as the same by our own reader, after the client's kind is made a server's. */
static void check_question(const struct question *question)
{
    uint8_t message[DHCP_BYTES], packet[FRAME_BYTES];
    struct answer answer;
    size_t length;

    expect(dhcp_write(question, message) == DHCP_BYTES, "a question's length");
    expect(!dhcp_read(message, DHCP_BYTES, &answer), "a question, which is no answer");
    expect(frame_write(question->address, message, DHCP_BYTES, packet) == FRAME_BYTES, "a packet");
    expect(frame_read(packet, FRAME_BYTES, &length) == NULL, "a packet to a server");
    message[0] = 2;
    dhcp_read(message, DHCP_BYTES, &answer);
    expect(answer.id == question->id && memcmp(answer.mac, question->mac, MAC_BYTES) == 0, "the same PC");
    expect(answer.server == question->server && answer.seconds == 0, "the same options");
}

static void check(const struct renewal *renewal, int64_t now)
{
    expect(renewal->address == address, "the address that the PC has");
    expect(renewal->next >= now - YEAR * 200, "a time of this world");
    if (renewal->state == BOUND) {
        expect(renewal->renew > renewal->sent && renewal->renew <= renewal->rebind, "T1 before T2");
        expect(renewal->rebind <= renewal->end, "T2 before the end");
        expect(renewal->next == renewal->renew, "the time to renew");
    }
}

static void talk(const uint8_t *data, size_t size)
{
    struct renewal renewal;
    int64_t now = 0, before;
    uint32_t random = 1;

    renewal_begin(&renewal, mac, address, now);
    for (; size >= 16; data += 16, size -= 16) {
        struct answer answer = {.kind = data[1] % 6, .id = renewal.question.id, .address = address};

        now += (int64_t)data[0] * data[0] * 1000;
        for (int turns = 0; turns < 8 && renewal.next <= now; turns++) {
            before = renewal.next;
            expect(renewal_ask(&renewal, now, random) < NEWS, "news that have a name");
            expect(renewal.next > before || renewal.next > now, "time that goes on");
            check_question(&renewal.question);
            check(&renewal, now);
            random = random * 1103515245u + 12345u;
        }
        memcpy(answer.mac, mac, MAC_BYTES);
        answer.mac[5] ^= data[1] >> 7;
        answer.address ^= (uint32_t)(data[2] & 1) << 24;
        answer.server = data[2] & 2 ? 0 : server;
        answer.id ^= (uint32_t)(data[2] & 4);
        memcpy(&answer.seconds, data + 4, 4);
        memcpy(&answer.renew, data + 8, 4);
        memcpy(&answer.rebind, data + 12, 4);
        expect(renewal_take(&renewal, &answer, now, random) < NEWS, "news that have a name");
        check(&renewal, now);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 1)
        read_packet(data + 1, size - 1);
    else
        talk(data + 1, size - 1);
    return 0;
}
