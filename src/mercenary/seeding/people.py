# ruff: noqa: RUF001 - a dotless i is how these names are spelled
"""Where people come from, what they are called, and in which currency they think."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Country:
    """`weight` is how many of a hundred users live there, roughly."""

    code: str
    currency: str
    weight: int
    given: tuple[str, ...]
    family: tuple[str, ...]


def _country(code: str, currency: str, weight: int, given: str, family: str) -> Country:
    return Country(code, currency, weight, tuple(given.split()), tuple(family.split()))


# Units of the currency that buy about what one US dollar buys; round, for budgets are, too.
UNITS_PER_DOLLAR: Final = {
    "USD": 1, "EUR": 1, "GBP": 1, "CAD": 1, "AUD": 1, "CHF": 1, "NZD": 1, "SGD": 1,
    "PLN": 4, "SEK": 10, "BRL": 5, "MXN": 20, "TRY": 30, "ZAR": 20, "INR": 80, "PHP": 50,
    "UAH": 40, "KES": 130, "NGN": 1000, "JPY": 150, "KRW": 1300, "EGP": 45, "PKR": 280,
}  # fmt: skip

COUNTRIES: Final = (
    _country("US", "USD", 15, "Emma James Olivia Marcus Ava Tyler Grace Andre Hannah Caleb Nora",
             "Miller Johnson Brooks Ramirez Bennett Carter Hughes Foster Reed Sullivan Price"),
    _country("IN", "INR", 13, "Aarav Priya Rohan Ananya Vikram Kavya Arjun Meera Nikhil Divya",
             "Sharma Patel Iyer Reddy Gupta Nair Singh Mehta Banerjee Kulkarni Joshi"),
    _country("GB", "GBP", 7, "Oliver Amelia Harry Isla George Freya Callum Poppy Rhys Imogen",
             "Smith Hughes Clarke Whitfield Evans Campbell Okafor Barnes Shaw Pritchard"),
    _country("DE", "EUR", 7, "Lukas Anna Jonas Lena Felix Greta Moritz Jürgen Katharina Sören",
             "Müller Schneider Weber Hoffmann Krüger Schäfer Vogel Brandt Lindner"),
    _country("UA", "UAH", 6, "Oleksandr Olena Andriy Iryna Dmytro Kateryna Taras Oksana Bohdan",
             "Shevchenko Kovalenko Bondarenko Tkachenko Kravchuk Melnyk Boyko Lysenko"),
    _country("PK", "PKR", 5, "Ali Ayesha Bilal Fatima Hamza Sana Usman Zainab Omar Hira",
             "Khan Ahmed Malik Qureshi Butt Siddiqui Raza Chaudhry Sheikh"),
    _country("PH", "PHP", 5, "Jose Maria Angelo Althea Mark Jasmine Paolo Bea Carlo Liza",
             "Santos Reyes Cruz Bautista Garcia Mendoza Villanueva Aquino Navarro"),
    _country("BR", "BRL", 5, "João Maria Pedro Beatriz Lucas Larissa Thiago Camila Rafael Letícia",
             "Silva Souza Oliveira Pereira Almeida Araújo Ribeiro Gonçalves Barbosa"),
    _country("PL", "PLN", 4, "Łukasz Zofia Jakub Agnieszka Paweł Małgorzata Michał Kinga Wojciech",
             "Nowak Kowalska Wiśniewski Wójcik Zieliński Szymańska Woźniak Dąbrowski"),
    _country("FR", "EUR", 4, "Chloé Hugo Manon Louis Inès Théo Camille Élodie Mathieu Zoé",
             "Martin Dubois Lefèvre Moreau Laurent Girard Rousseau Benali Fontaine"),
    _country("NG", "NGN", 4, "Chinedu Amaka Tunde Ngozi Emeka Folake Ibrahim Zainab Segun Ifeoma",
             "Okafor Adeyemi Eze Balogun Nwosu Bello Ogunleye Danjuma"),
    _country("CA", "CAD", 3, "Liam Sophie Noah Maya Ethan Claire Owen Simone",
             "Tremblay MacDonald Roy Chen Gagnon Fraser Bouchard Singh"),
    _country("ES", "EUR", 3, "Lucía Álvaro Carmen Pablo Marta Íñigo Nuria Sergio",
             "García Fernández López Martínez Ibáñez Romero Núñez Serrano"),
    _country("AU", "AUD", 2, "Jack Charlotte Lachlan Ruby Cooper Matilda Angus Zara",
             "Wilson Nguyen Kelly Thompson Walsh Murphy Fitzgerald Papadopoulos"),
    _country("NL", "EUR", 2, "Daan Sanne Bram Lotte Sem Femke Joris Anouk",
             "Jansen Bakker Visser Smit Mulder Dekker Hendriks Vermeulen"),
    _country("MX", "MXN", 2, "Diego Ximena Santiago Valeria Emilio Fernanda Ángel Renata",
             "Hernández Torres Flores Vázquez Ramírez Castillo Jiménez Ortega"),
    _country("KE", "KES", 2, "Brian Wanjiku Kevin Achieng Dennis Njeri Otieno Mercy",
             "Kamau Ochieng Mwangi Wanjala Kiptoo Mutua Odhiambo Njoroge"),
    _country("TR", "TRY", 2, "Emre Zeynep Mehmet Elif Can Ayşe Burak Gülşah",
             "Yılmaz Kaya Demir Çelik Şahin Aydın Öztürk Arslan"),
    _country("JP", "JPY", 2, "Haruto Yui Ren Sakura Sota Aoi Kenji Naoko",
             "Sato Suzuki Takahashi Tanaka Watanabe Yamamoto Nakamura Kobayashi"),
    _country("ZA", "ZAR", 2, "Thabo Lerato Pieter Naledi Sipho Anika Johan Zanele",
             "Nkosi Botha Dlamini Naidoo Mokoena Pretorius Khumalo Jacobs"),
    _country("EG", "EGP", 2, "Ahmed Mariam Youssef Nour Karim Salma Mostafa Dina",
             "Hassan Ibrahim Mahmoud Farouk Saleh Mansour Abdelrahman Gamal"),
    _country("SE", "SEK", 1, "Erik Astrid Oskar Elin Åke Saga Björn Linnéa",
             "Andersson Lindqvist Bergström Nyström Sjöberg Åkesson Ek Holm"),
    _country("KR", "KRW", 1, "Minjun Seoyeon Jiho Hayoon Donghyun Jiwoo Sumin Yuna",
             "Kim Lee Park Choi Jung Kang Yoon Lim"),
    _country("CH", "CHF", 1, "Luca Mia Reto Nina Beat Céline Urs Flavia",
             "Meier Keller Frei Bianchi Zürcher Favre Bühler Roth"),
    _country("SG", "SGD", 1, "Wei Hui Jun Mei Aisyah Ravi Kai Xin",
             "Tan Lim Lee Ng Wong Rahman Pillai Goh"),
    _country("NZ", "NZD", 1, "Aroha Nikau Liam Maia Jack Anahera Finn Ella",
             "Walker Ngata Campbell Parata Taylor Henare Wood Singh"),
)  # fmt: skip

INDUSTRIES: Final = (
    "a family bakery", "a logistics start-up", "a dental practice", "a school network",
    "a chain of bicycle shops", "a software company", "a vineyard", "a non-profit",
    "a museum", "an energy cooperative", "a travel agency", "a small publisher",
    "an insurance broker", "a furniture maker", "a sports club", "a biotech laboratory",
    "a hotel", "a local newspaper", "a law firm", "a farm", "a game studio",
    "a hospital group", "an architects' office", "a record label", "a toy importer",
)  # fmt: skip
POSITIONS: Final = (
    "Founder", "Owner", "Head of product", "Managing director", "Operations lead",
    "Marketing manager", "Editor in chief", "Chief engineer", "Project manager",
)  # fmt: skip
